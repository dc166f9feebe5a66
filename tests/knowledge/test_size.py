"""What bases take of the file: many small ones, and one that is indexed again and again."""

from __future__ import annotations

import numpy as np
import pytest

from secureai_appliance.accounts import users
from secureai_appliance.knowledge import index, indexes, vectors
from secureai_appliance.knowledge.index import Entry
from secureai_appliance.knowledge.indexes import Chunking, Index
from secureai_appliance.store import Store, upkeep

RANDOM = np.random.default_rng(3)


def entries(count: int) -> list[Entry]:
    made = []
    for vector in RANDOM.normal(size=(count, 384)).astype(np.float32):
        text = " ".join(f"word{number}" for number in RANDOM.integers(0, 5000, 120))
        made.append(Entry(text, 0, len(text), None, "", text, vector))
    return made


def make_base(store: Store, owner: str, number: int) -> str:
    with store.transaction() as tx:
        base_id = f"kb-{number}"
        tx.run(
            "INSERT INTO knowledge_bases (id, owner_id, name, slug, description, visibility, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, '', 'private', 0, 0)",
            *(base_id, owner, base_id, base_id),
        )
        indexes.add(tx, base_id, "active", "m", Chunking())
    return base_id


def active(store: Store, base_id: str) -> Index:
    with store.read() as db:
        return indexes.active(db, base_id)


def put(store: Store, into: Index, document: str, made: list[Entry]) -> None:
    with store.transaction() as tx:
        index.put(tx, into, document, made)


def used(store: Store) -> int:
    """Bytes of the file that hold something."""
    while upkeep.give_back(store) or vectors.tidy(store):
        pass
    with store.read() as db:
        found: int = db.value(
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count,"
            " pragma_page_size"
        )
    return found


@pytest.fixture
def owner(store: Store) -> str:
    with store.transaction() as tx:
        return users.create(tx, email="a@example.test", name="A", role="user").id


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_base_of_one_document_takes_little(store: Store, owner: str, count: int) -> None:
    before = used(store)
    for number in range(count):
        put(store, active(store, make_base(store, owner, number)), f"doc-{number}", entries(1))
    assert used(store) - before < 200_000_000 * count / 1000


def test_ten_times_indexed_again_takes_no_more(store: Store, owner: str) -> None:
    into = active(store, make_base(store, owner, 1))
    documents = {f"doc-{number}": entries(20) for number in range(30)}
    for document, made in documents.items():
        put(store, into, document, made)
    before = used(store)
    for _ in range(10):
        for document, made in documents.items():
            put(store, into, document, made)
    assert used(store) < before * 1.2
