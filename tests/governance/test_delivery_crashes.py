"""Promise 28: whatever was stored is delivered at least once, also over kill -9; what was rolled back never is."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.store import Store
from tests.support.audit import CHAIN_KEY, open_audited
from tests.support.scripted import Heard, Line
from tests.support.webhooks import Post, receiving

REPOSITORY = Path(__file__).parents[2]


def kill_while_delivering(path: Path, name: str, after: int) -> set[str]:
    """Start a process that emits and delivers, kill it once `after` events were stored; all that it stored for sure."""
    command = [sys.executable, "-m", "tests.support.event_load", str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        stored = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        stored += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return {line.decode().strip() for line in stored if line.endswith(b"\n")}


def kill_rounds(path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    told: list[str] = []

    def note(heard: Heard, line: Line) -> None:
        told.append(heard.json["data"]["user_id"])
        line.answer(200, b"")

    with receiving(note) as url:
        store = open_audited(path, SystemClock())
        Post(store, SystemClock()).hook(url)
        store.close()
        stored: set[str] = set()
        for n in range(rounds):
            stored |= kill_while_delivering(path, f"r{n}", after=chance.randint(1, 60))
        before = set(told)
        store = Store.open(path, clock=SystemClock(), chain_key=CHAIN_KEY)
        post = Post(store, SystemClock())
        while True:
            with store.read() as db:
                if not db.value("SELECT EXISTS (SELECT 1 FROM deliveries WHERE status = 'pending')"):
                    break
            post.turn()
        post.courier.stop(1)
        store.close()
    assert before
    assert stored <= set(told), sorted(stored - set(told))
    assert not [name for name in told if name.startswith("undone")]


def test_every_event_is_delivered_at_least_once_over_kill_9(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "secureai.db", 4)


@pytest.mark.soak
def test_every_event_is_delivered_at_least_once_over_50_times_kill_9(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "secureai.db", 50)
