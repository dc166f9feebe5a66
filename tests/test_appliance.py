"""Building the parts: all of them, or none."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from secureai_appliance.appliance import Appliance
from secureai_appliance.core.errors import EXIT_MASTER_KEY, StartupError
from secureai_appliance.settings import Settings
from secureai_appliance.store import ServeLock
from secureai_appliance.web.server import listen
from tests.support.clock import FakeClock


def test_a_start_that_fails_gives_back_the_folder_and_the_port(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with listen("127.0.0.1", 0) as free:
        port: int = free.getsockname()[1]
    (tmp_path / "no.key").write_bytes(b"short")
    settings = Settings(data=str(tmp_path / "data"), port=port, key_file=str(tmp_path / "no.key"))
    with pytest.raises(StartupError) as raised:
        Appliance(settings, clock)
    assert raised.value.exit_code == EXIT_MASTER_KEY
    assert not ServeLock.is_held(settings.data_folder.lock)
    listen("127.0.0.1", port).close()
    assert tempfile.gettempdir() == str(settings.data_folder.tmp)
