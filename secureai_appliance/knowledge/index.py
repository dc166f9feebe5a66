"""What is searched: the words and vectors of an index's chunks, put in and taken out with their rows.

`terms_<index>` is full text of an index's own: no base's statistics weigh in another's results, and its size slows no
other. Vectors are in `vectors.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from secureai_appliance.core.ids import new_id
from secureai_appliance.knowledge import indexes, vectors
from secureai_appliance.knowledge.indexes import Index, terms_table, words_table
from secureai_appliance.knowledge.vectors import Condition, Hit
from secureai_appliance.store import Reader, Store, Transaction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SWEPT_AT_ONCE = 500
_MOST_RANKED = 20_000
_FREQUENT = 2000
_MOST_KEPT = 10_000


@dataclass(frozen=True)
class Entry:
    """One chunk: characters `start` to `end` of the document's text, its words for the index, and its vector.

    Without a vector it is found by its words alone; the first of a document has one.
    """

    text: str
    start: int
    end: int
    page: int | None
    heading: str
    terms: str
    vector: NDArray[np.float32] | None


def put(tx: Transaction, index: Index, document_id: str, entries: Sequence[Entry]) -> None:
    """Make these the document's chunks in this index, in place of any it had."""
    remove(tx, index.row_id, document_id)
    if not entries:
        return
    assert entries[0].vector is not None
    _check_dimension(tx, index, len(entries[0].vector))
    found: dict[int, NDArray[np.float32]] = {}
    for position, entry in enumerate(entries):
        tx.run(
            'INSERT INTO chunks (id, index_id, document_id, position, start, "end", page, heading, text)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(new_id("chunk"), index.row_id, document_id, position, entry.start, entry.end),
            *(entry.page, entry.heading, entry.text),
        )
        row_id = tx.value("SELECT last_insert_rowid()")
        tx.run(
            f"INSERT INTO {terms_table(index.row_id)} (rowid, terms) VALUES (?, ?)",  # noqa: S608 (a number)
            *(row_id, entry.terms),
        )
        if entry.vector is not None:
            found[row_id] = entry.vector
    vectors.put(tx, index.row_id, list(found), list(found.values()))


def remove(tx: Transaction, index_id: int, document_id: str) -> None:
    """Take a document out of an index."""
    rows = tx.all("SELECT row_id FROM chunks WHERE index_id = ? AND document_id = ?", index_id, document_id)
    _remove(tx, index_id, [row_id for (row_id,) in rows])


def forget(tx: Transaction, document_id: str, base_id: str) -> None:
    """Take a document out of all indexes of its base."""
    for (index_id,) in tx.all("SELECT row_id FROM knowledge_indexes WHERE base_id = ?", base_id):
        remove(tx, index_id, document_id)


def sweep(store: Store) -> bool:
    """Take away indexes that belong to no base any more, some chunks at a time; whether there may be more."""
    with store.read() as db:
        index_id = db.value("SELECT row_id FROM knowledge_indexes WHERE base_id IS NULL LIMIT 1")
    if index_id is None:
        return False
    with store.transaction() as tx:
        rows = tx.all("SELECT row_id FROM chunks WHERE index_id = ? LIMIT ?", index_id, _SWEPT_AT_ONCE)
        tx.run(f"DROP TABLE IF EXISTS {words_table(index_id)}")
        tx.run(f"DROP TABLE IF EXISTS {terms_table(index_id)}")
        vectors.drop(tx, index_id)
        _remove(tx, index_id, [row_id for (row_id,) in rows], with_terms=False)
        if len(rows) < _SWEPT_AT_ONCE:
            tx.run("DELETE FROM knowledge_indexes WHERE row_id = ?", index_id)
    return True


def _check_dimension(tx: Transaction, index: Index, dimension: int) -> None:
    known = tx.value("SELECT dimension FROM knowledge_indexes WHERE row_id = ?", index.row_id)
    if known is None:
        indexes.begin(tx, index.row_id, dimension)
    elif known != dimension:
        raise ValueError(f"vectors of {dimension} numbers don't belong into an index of {known}")


def _remove(tx: Transaction, index_id: int, rows: Sequence[int], *, with_terms: bool = True) -> None:
    if not rows:
        return
    wanted = "IN (SELECT value FROM json_each(?))"
    encoded = msgspec.json.encode(rows).decode()
    if with_terms:
        tx.run(f"DELETE FROM {terms_table(index_id)} WHERE rowid {wanted}", encoded)  # noqa: S608 (a number)
    vectors.remove(tx, index_id, rows)
    tx.run(f"DELETE FROM chunks WHERE row_id {wanted}", encoded)  # noqa: S608 (constant)


Counts = dict[tuple[int, str, int], int]
"""In how many chunks a term stands: by the number of an index of one store, the term, and how large the index was."""


def matching(
    db: Reader,
    index: Index,
    words: Sequence[Sequence[str]],
    count: int,
    *,
    only: Condition | None = None,
    kept: Counts | None = None,
) -> list[Hit]:
    """The chunks in which any of the words stand, the best `count` by BM25. A word is the terms it may stand as.

    `kept`: what is known of this store.
    """
    if index.dimension is None:
        return []
    telling = _telling(db, index, words, {} if kept is None else kept)
    expression = " OR ".join('"' + term.replace('"', '""') + '"' for term in telling)
    if not expression:
        return []
    table = terms_table(index.row_id)
    where, params = ("", ()) if only is None else (f" AND rowid IN ({only[0]})", only[1])
    found = db.value(
        # in one row: each row of an answer waits for its turn beside threads that compute
        f"SELECT json_group_array(json_array(rowid, -rank)) FROM (SELECT rowid, rank FROM {table}"  # noqa: S608
        f" WHERE {table} MATCH ?{where} ORDER BY rank LIMIT ?)",
        *(expression, *params, count),
    )
    return [Hit(row_id, score) for row_id, score in msgspec.json.decode(found)]


def standing(db: Reader, index: Index, words: Sequence[Sequence[str]], kept: Counts) -> tuple[int, list[int]]:
    """How many vectors there are, about as many as chunks, and in how many chunks each of the words stands.

    `kept` as in `matching`.
    """
    if index.dimension is None:
        return 0, [0] * len(words)
    size = vectors.size(db, index.row_id)
    wanted = list(dict.fromkeys(term for word in words for term in word))
    chunks = _counted(db, index.row_id, wanted, size.bit_length(), kept)
    return size, [sum(chunks.get(term, 0) for term in word) for word in words]


def _telling(db: Reader, index: Index, words: Sequence[Sequence[str]], kept: Counts) -> list[str]:
    """The terms to look for: those of the rarest words, until they stand in so many chunks that ranking takes long.

    In a large base, words that stand everywhere tell little and cost most.
    """
    wanted = list(dict.fromkeys(term for word in words for term in word))
    size = vectors.size(db, index.row_id)
    if size * len(wanted) <= _MOST_RANKED:
        return wanted
    chunks = _counted(db, index.row_id, wanted, size.bit_length(), kept)
    counted = sorted(
        (sum(chunks.get(term, 0) for term in word), [term for term in word if term in chunks]) for word in words
    )
    terms: list[str] = []
    ranked = 0
    for count, known in counted:
        ranked += count
        if terms and ranked > _MOST_RANKED:
            break
        terms += known
    return list(dict.fromkeys(terms))


def _counted(db: Reader, index_id: int, terms: Sequence[str], size: int, kept: Counts) -> dict[str, int]:
    """In how many chunks each of the terms stands; none of a term that is nowhere.

    Counting those of a frequent term takes as long as ranking them: it is done again when the index is twice as large.
    """
    known = {term: kept[index_id, term, size] for term in terms if (index_id, term, size) in kept}
    found = db.value(
        f"SELECT json_group_object(term, doc) FROM {words_table(index_id)}"  # noqa: S608 (a number)
        " WHERE term IN (SELECT value FROM json_each(?))",
        msgspec.json.encode([term for term in terms if term not in known]).decode(),
    )
    counted: dict[str, int] = msgspec.json.decode(found)
    if len(kept) > _MOST_KEPT:
        kept.clear()
    kept.update({(index_id, term, size): chunks for term, chunks in counted.items() if chunks >= _FREQUENT})
    return known | counted
