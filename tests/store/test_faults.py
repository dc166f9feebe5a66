"""Promise 2: a full disk or an I/O error on any write is a 503, changes nothing, and is over when space returns."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from secureai_appliance.core.errors import ServiceUnavailable, StartupError
from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.rows import names_in, write_user
from tests.support.vfs import FaultyVFS

NAMES = ("first", "second", "third", "fourth")


@pytest.fixture(autouse=True)
def _write_back_early(monkeypatch: pytest.MonkeyPatch) -> None:
    # so that the scenario has faults in the writing back of the log, too
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 15)


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    with FaultyVFS("faulty") as vfs:
        yield vfs


def after_a_kill(path: Path, folder: Path) -> set[str]:
    """What another process would find if this one were killed now."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in (path, path.with_name(path.name + "-wal")):
        shutil.copy(file, folder)
    store = Store.open(folder / path.name, clock=FakeClock(), synchronous="OFF")
    try:
        assert store.integrity(quick=False) == []
        return names_in(store)
    finally:
        store.close()


def run_with_fault(store: Store, vfs: FaultyVFS, look: Callable[[], set[str]]) -> tuple[int, int]:
    """Write one name after the other. How many writes failed, and how many faults there were."""
    stored: set[str] = set()
    failed = 0
    retry_after: list[int | None] = []
    for name in NAMES:
        try:
            write_user(store, name)
        except ServiceUnavailable as failure:
            failed += 1
            retry_after.append(failure.retry_after)
            assert names_in(store) == stored
            assert look() == stored
            vfs.heal()
            # no restart: the very same store goes on
            write_user(store, name)
        stored.add(name)
        assert names_in(store) == stored
    assert all(retry_after)
    return failed, vfs.faults


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        pytest.param(apsw.FullError, True, id="disk full until space returns"),
        pytest.param(apsw.IOError, False, id="one I/O error"),
        pytest.param(apsw.FullError, False, id="disk full once", marks=pytest.mark.soak),
        pytest.param(apsw.IOError, True, id="I/O errors until healed", marks=pytest.mark.soak),
    ],
)
def test_a_fault_at_any_write_changes_nothing_and_passes(
    tmp_path: Path, vfs: FaultyVFS, error: type[apsw.Error], lasting: bool
) -> None:
    failures = 0
    for n in itertools.count(1):
        folder = tmp_path / f"n{n}"
        folder.mkdir()
        store = Store.open(folder / "secureai.db", clock=FakeClock(), vfs=vfs.name)
        vfs.break_at(n, error=error, lasting=lasting)

        def look(store: Store = store, folder: Path = folder) -> set[str]:
            # while the disk lets nothing through, a commit whose sync failed can't be struck out either
            return names_in(store) if lasting else after_a_kill(store.path, folder / "killed")

        failed, faults = run_with_fault(store, vfs, look)
        vfs.heal()
        assert after_a_kill(store.path, folder / "killed") == set(NAMES)
        assert store.integrity(quick=False) == []
        store.close()
        failures += failed
        if not faults:
            break
    assert n > 20
    assert failures > 10


def test_the_readiness_probe_really_writes(tmp_path: Path, vfs: FaultyVFS) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=FakeClock(), vfs=vfs.name)
    store.check_writable()
    vfs.break_at(1, lasting=True)
    for _ in range(3):
        with pytest.raises(ServiceUnavailable):
            store.check_writable()
    vfs.heal()
    store.check_writable()
    store.close()


def test_a_checkpoint_that_fails_loses_nothing(tmp_path: Path, vfs: FaultyVFS) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=FakeClock(), vfs=vfs.name)
    write_user(store, "ada")
    vfs.break_at(1, lasting=True)
    with pytest.raises(ServiceUnavailable):
        store.checkpoint()
    vfs.heal()
    store.checkpoint()
    assert store.path.with_name("secureai.db-wal").stat().st_size == 0
    assert names_in(store) == {"ada"}
    store.close()


def test_a_store_on_a_broken_disk_still_closes_and_loses_nothing(tmp_path: Path, vfs: FaultyVFS) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=FakeClock(), vfs=vfs.name)
    write_user(store, "ada")
    vfs.break_at(1, lasting=True)
    store.close()
    vfs.heal()
    store = Store.open(tmp_path / "secureai.db", clock=FakeClock(), vfs=vfs.name)
    assert names_in(store) == {"ada"}
    store.close()


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.soak)], ids=["one in seven", "all"])
@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError], ids=["disk full", "I/O error"])
def test_a_fault_at_any_write_of_the_first_start_is_one_line_and_the_next_start_completes_it(
    tmp_path: Path, vfs: FaultyVFS, error: type[apsw.Error], stride: int
) -> None:
    refused: list[str] = []
    for n in itertools.count(1, stride):
        path = tmp_path / f"n{n}" / "secureai.db"
        path.parent.mkdir()
        vfs.break_at(n, error=error, lasting=True)
        try:
            Store.open(path, clock=FakeClock(), vfs=vfs.name).close()
        except StartupError as failure:
            refused.append(failure.message)
        faults = vfs.faults
        vfs.heal()
        store = Store.open(path, clock=FakeClock(), synchronous="OFF")
        write_user(store, "ada")
        assert store.integrity(quick=False) == []
        store.close()
        if not faults:
            break
    assert len(refused) > 5
    assert not any("\n" in message for message in refused)
