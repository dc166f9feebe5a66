"""Promise 7: one server per data folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.core.errors import EXIT_ALREADY_RUNNING, StartupError
from secureai_appliance.store import ServeLock

HOLDER = """
import sys
from pathlib import Path
from secureai_appliance.store import ServeLock
ServeLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_server_is_refused_with_one_line_that_names_folder_and_process(tmp_path: Path) -> None:
    lock = ServeLock(tmp_path / "serve.lock")
    lock.acquire()
    with pytest.raises(StartupError) as caught:
        ServeLock(tmp_path / "serve.lock").acquire()
    assert caught.value.exit_code == EXIT_ALREADY_RUNNING
    assert str(tmp_path) in caught.value.message
    assert str(os.getpid()) in caught.value.message
    assert "\n" not in caught.value.message
    lock.release()
    again = ServeLock(tmp_path / "serve.lock")
    again.acquire()
    again.release()


def test_a_server_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert ServeLock.is_held(path)
        with pytest.raises(StartupError, match=str(holder.pid)):
            ServeLock(path).acquire()
        holder.kill()
    assert not ServeLock.is_held(path)
    lock = ServeLock(path)
    lock.acquire()
    lock.release()
