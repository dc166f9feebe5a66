"""Promise 1: what was answered is there after kill -9 and after a power cut, and the file is sound."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from secureai_appliance.core.errors import StartupError
from secureai_appliance.store import Store
from secureai_appliance.store.connection import Synchronous
from tests.support.clock import FakeClock
from tests.support.rows import losses, names_in, write_user
from tests.support.vfs import Cut, PowerCutVFS

REPOSITORY = Path(__file__).parents[2]
WRITERS = 8

Answered = Cut[set[str]]


def kill_under_load(path: Path, round_: int, after: int) -> set[str]:
    """Start a process that writes and kill it once `after` writes were answered; all that it answered in its life."""
    command = [sys.executable, "-m", "tests.support.write_load", str(path), f"r{round_}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        answered += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return {line.decode().strip() for line in answered if line.endswith(b"\n")}


def kill_rounds(path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    answered: set[str] = set()
    for round_ in range(rounds):
        answered |= kill_under_load(path, round_, after=chance.randint(1, 400))
        assert losses(path, answered) == set()


def test_every_answered_write_survives_kill_9(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "secureai.db", 5)


@pytest.mark.soak
def test_every_answered_write_survives_200_times_kill_9(tmp_path: Path) -> None:
    kill_rounds(tmp_path / "secureai.db", 200)


def power_cuts(
    folder: Path,
    wanted: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    synchronous: Synchronous = "FULL",
    seed: int | None = None,
) -> list[Answered]:
    """Pictures of the disk at `wanted` random operations, while 8 writers work and the log is written back often."""
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 40)
    answered: list[str] = []
    chance = random.Random(seed)
    enough = threading.Event()

    def when(_: int) -> bool:
        if len(vfs.cuts) >= wanted:
            enough.set()
            return False
        return len(answered) > 2 * WRITERS and chance.random() < 0.05

    with PowerCutVFS("power", witness=lambda: set(answered), when=when, seed=seed) as vfs:
        store = Store.open(folder / "secureai.db", clock=FakeClock(), vfs=vfs.name, synchronous=synchronous)

        def work(writer: int) -> None:
            for n in itertools.count():
                if enough.is_set():
                    return
                write_user(store, f"{writer}-{n}")
                answered.append(f"{writer}-{n}")

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()
    return vfs.cuts


def lost_in(cut: Answered, folder: Path) -> set[str]:
    """Open what a cut left, as the next start does. What was answered and is gone; all of it when nothing opens."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cut.write_to(folder)
    return losses(folder / "secureai.db", cut.witness)


@pytest.mark.parametrize("seed", [None, 1, 2], ids=["all unsynced lost", "some kept", "others kept"])
def test_every_answered_write_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int | None
) -> None:
    cuts = power_cuts(tmp_path, 12, monkeypatch, seed=seed)
    assert [lost_in(cut, tmp_path / "after") for cut in cuts] == [set()] * 12


@pytest.mark.soak
@pytest.mark.parametrize("seed", [None, 1, 2, 3], ids=["all unsynced lost", "some kept", "others kept", "yet others"])
def test_every_answered_write_survives_200_power_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int | None
) -> None:
    cuts = power_cuts(tmp_path, 200, monkeypatch, seed=seed)
    assert [lost_in(cut, tmp_path / "after") for cut in cuts] == [set()] * 200


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_the_power_cut_harness_sees_what_less_than_full_sync_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: Synchronous
) -> None:
    cuts = power_cuts(tmp_path, 12, monkeypatch, synchronous=synchronous, seed=None)
    found = []
    for cut in cuts:
        try:
            found.append(bool(lost_in(cut, tmp_path / "after")))
        except (AssertionError, StartupError):
            found.append(True)
    assert any(found)


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.soak)], ids=["one in seven", "all"])
@pytest.mark.parametrize("seed", [None, 1], ids=["all unsynced lost", "some kept"])
def test_a_power_cut_at_any_moment_of_the_first_start_leaves_what_the_next_start_completes(
    tmp_path: Path, seed: int | None, stride: int
) -> None:
    born = tmp_path / "born"
    born.mkdir()
    with PowerCutVFS("power", witness=lambda: None, when=lambda n: n % stride == 0, seed=seed) as vfs:
        Store.open(born / "secureai.db", clock=FakeClock(), vfs=vfs.name).close()
        cuts = [*vfs.cuts, vfs.cut()]
    assert len(cuts) > 10
    for number, cut in enumerate(cuts):
        folder = tmp_path / f"after-{number}"
        folder.mkdir()
        cut.write_to(folder)
        store = Store.open(folder / "secureai.db", clock=FakeClock(), synchronous="OFF")
        write_user(store, "ada")
        assert names_in(store) == {"ada"}
        assert store.integrity(quick=False) == []
        store.close()
