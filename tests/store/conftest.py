"""Stores on file systems that count, or fail when they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.vfs import CountingVFS, FaultyVFS


@pytest.fixture
def counting(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Store, CountingVFS]]:
    with CountingVFS("counting") as vfs:
        store = Store.open(tmp_path / "secureai.db", clock=clock, vfs=vfs.name)
        # the first commit into a new log syncs its header besides
        store.check_writable()
        yield store, vfs
        store.close()


@pytest.fixture
def faulty(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Store, FaultyVFS]]:
    with FaultyVFS("faulty") as vfs:
        store = Store.open(tmp_path / "secureai.db", clock=clock, vfs=vfs.name)
        yield store, vfs
        vfs.heal()
        store.close()
