"""What keeps the file in shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from secureai_appliance.store import Store, upkeep
from tests.support.clock import FakeClock


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "kept.db", clock=FakeClock(), synchronous="OFF")


def fill(store: Store, rows: int) -> None:
    with store.transaction() as tx:
        tx.run("CREATE TABLE heap (content BLOB)")
        for _ in range(rows):
            tx.run("INSERT INTO heap VALUES (zeroblob(8000))")


def test_freed_pages_go_back_to_the_disk_in_steps(store: Store) -> None:
    fill(store, upkeep.FREED_AT_ONCE + 50)
    store.checkpoint()
    full = store.path.stat().st_size
    with store.transaction() as tx:
        tx.run("DROP TABLE heap")
    assert upkeep.give_back(store)
    assert not upkeep.give_back(store)
    assert not upkeep.give_back(store)
    store.checkpoint()
    assert store.path.stat().st_size < full - upkeep.FREED_AT_ONCE * 8000


def test_a_log_that_grew_long_is_cut(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, 20)
    length = upkeep.log_bytes(store)
    upkeep.shorten_log(store)
    assert upkeep.log_bytes(store) == length > 0
    monkeypatch.setattr(upkeep, "LONG_LOG_BYTES", length - 1)
    upkeep.shorten_log(store)
    assert upkeep.log_bytes(store) == 0


def test_statistics_are_brought_up_to_date(store: Store) -> None:
    fill(store, 5)
    with store.transaction() as tx:
        tx.run("CREATE INDEX heap_by_content ON heap (length(content))")
    upkeep.optimize(store)
    with store.read() as db:
        assert db.value("SELECT stat FROM sqlite_stat1 WHERE idx = 'heap_by_content'") == "5 5"
