"""Words of an index: which of a query's are looked for where many chunks hold them."""

from __future__ import annotations

import numpy as np
import pytest

from secureai_appliance.accounts import users
from secureai_appliance.knowledge import index, indexes
from secureai_appliance.knowledge.index import Counts, Entry
from secureai_appliance.store import Store


@pytest.fixture
def found(store: Store) -> indexes.Index:
    """An index in which `everywhere` stands in each chunk and `rare` in one."""
    with store.transaction() as tx:
        owner = users.create(tx, email="a@example.test", name="A", role="user").id
        tx.run(
            "INSERT INTO knowledge_bases (id, owner_id, name, slug, description, visibility, created_at, updated_at)"
            " VALUES ('kb-1', ?, 'a', 'a', '', 'private', 0, 0)",
            owner,
        )
        indexes.add(tx, "kb-1", "active", "m", indexes.Chunking())
        made = indexes.active(tx, "kb-1")
    put(store, made, *["everywhere and often"] * 40, "everywhere and rare", "everywhere rare often")
    with store.read() as db:
        return indexes.active(db, "kb-1")


def put(store: Store, into: indexes.Index, *texts: str) -> None:
    with store.transaction() as tx:
        for text in texts:
            entry = Entry(text, 0, len(text), None, "", text, np.ones(8, np.float32))
            index.put(tx, into, f"doc-{tx.value('SELECT COUNT(*) FROM chunks')}", [entry])


def hits(store: Store, within: indexes.Index, *words: str, kept: Counts | None = None) -> int:
    with store.read() as db:
        return len(index.matching(db, within, [[word] for word in words], 100, kept=kept))


def test_words_that_stand_everywhere_are_not_looked_for_beside_rare_ones(
    store: Store, found: indexes.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hits(store, found, "everywhere", "rare") == 42
    monkeypatch.setattr(index, "_MOST_RANKED", 10)
    assert hits(store, found, "everywhere", "rare") == 2
    assert hits(store, found, "everywhere", "rare", "nowhere") == 2
    assert hits(store, found, "everywhere") == 42
    assert hits(store, found, "nowhere") == 0


def test_what_is_known_of_frequent_words_is_counted_again_in_an_index_twice_as_large(
    store: Store, found: indexes.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_MOST_RANKED", 30)
    monkeypatch.setattr(index, "_FREQUENT", 20)
    kept: Counts = {}
    assert hits(store, found, "rare", "often", kept=kept) == 2
    assert [(term, chunks) for (_, term, _), chunks in kept.items()] == [("often", 41)]
    put(store, found, *["rare and more"] * 60)
    assert hits(store, found, "rare", "often", kept=kept) == 41


def test_an_index_without_documents_has_no_tables_and_nothing_is_found_in_it(
    store: Store, found: indexes.Index
) -> None:
    def tables() -> int:
        with store.read() as db:
            return int(db.value("SELECT COUNT(*) FROM sqlite_schema"))

    before = tables()
    with store.transaction() as tx:
        row_id = indexes.add(tx, "kb-1", "building", "m", indexes.Chunking())
        empty = indexes.find(tx, "kb-1", "building")
        assert empty is not None
        index.remove(tx, row_id, "doc-1")
    assert tables() == before
    assert hits(store, empty, "everywhere") == 0
    with store.read() as db:
        assert index.standing(db, empty, [["everywhere"]], {}) == (0, [0])

    # one that an earlier version made has tables already
    with store.transaction() as tx:
        tx.run(f"CREATE VIRTUAL TABLE {indexes.terms_table(row_id)} USING fts5({indexes._FTS})")
    put(store, empty, "everywhere at last")
    with store.read() as db:
        full = indexes.find(db, "kb-1", "building")
    assert full is not None
    assert hits(store, full, "everywhere") == 1
