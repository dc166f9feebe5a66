"""What is searched: the words and vectors of an index's chunks, put in and taken out with their rows.

`terms_<index>` is full text of an index's own: no base's statistics weigh in another's results, and its size slows no
other. `vectors_<dimension>` holds the signs of the vectors, one partition an index; `chunk_vectors` the vectors
themselves, for the second look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from secureai_appliance.core.ids import new_id
from secureai_appliance.knowledge.bases import Index, terms_table, words_table
from secureai_appliance.store import Reader, Store, Transaction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_VECTORS_IN_A_BLOCK = 128
_SWEPT_AT_ONCE = 500
_MOST_RANKED = 20_000


@dataclass(frozen=True)
class Entry:
    """One chunk: characters `start` to `end` of the document's text, its words for the index, and its vector."""

    text: str
    start: int
    end: int
    page: int | None
    heading: str
    terms: str
    vector: NDArray[np.float32]


def put(tx: Transaction, index: Index, document_id: str, entries: Sequence[Entry]) -> None:
    """Make these the document's chunks in this index, in place of any it had."""
    remove(tx, index.row_id, document_id)
    if not entries:
        return
    vectors = _vectors_table(tx, index, len(entries[0].vector))
    for position, entry in enumerate(entries):
        tx.run(
            'INSERT INTO chunks (id, index_id, document_id, position, start, "end", page, heading, text)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(new_id("chunk"), index.row_id, document_id, position, entry.start, entry.end),
            *(entry.page, entry.heading, entry.text),
        )
        row_id = tx.value("SELECT last_insert_rowid()")
        tx.run("INSERT INTO chunk_vectors (chunk_row_id, vector) VALUES (?, ?)", row_id, entry.vector.tobytes())
        tx.run(
            f"INSERT INTO {vectors} (chunk_row_id, index_id, signs) VALUES (?, ?, vec_bit(?))",  # noqa: S608 (a number)
            *(row_id, index.row_id, signs(entry.vector)),
        )
        tx.run(
            f"INSERT INTO {terms_table(index.row_id)} (rowid, terms) VALUES (?, ?)",  # noqa: S608 (a number)
            *(row_id, entry.terms),
        )


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
        _remove(tx, index_id, [row_id for (row_id,) in rows], with_terms=False)
        if len(rows) < _SWEPT_AT_ONCE:
            tx.run("DELETE FROM knowledge_indexes WHERE row_id = ?", index_id)
    return True


def vectors_table(dimension: int) -> str:
    """The table of the signs of vectors of this length."""
    return f"vectors_{int(dimension)}"


def signs(vector: NDArray[np.float32]) -> bytes:
    """A bit for each number: whether it is positive."""
    import numpy as np

    return np.packbits(vector > 0, bitorder="little").tobytes()


def _vectors_table(tx: Transaction, index: Index, dimension: int) -> str:
    known = tx.value("SELECT dimension FROM knowledge_indexes WHERE row_id = ?", index.row_id)
    table = vectors_table(dimension)
    if known is None:
        bits = -(-dimension // 8) * 8
        tx.run(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {table} USING vec0(chunk_row_id INTEGER PRIMARY KEY,"
            f" index_id INTEGER PARTITION KEY, signs bit[{bits}], chunk_size={_VECTORS_IN_A_BLOCK})"
        )
        tx.run("UPDATE knowledge_indexes SET dimension = ? WHERE row_id = ?", dimension, index.row_id)
    elif known != dimension:
        raise ValueError(f"vectors of {dimension} numbers don't belong into an index of {known}")
    return table


def _remove(tx: Transaction, index_id: int, rows: Sequence[int], *, with_terms: bool = True) -> None:
    dimension = tx.value("SELECT dimension FROM knowledge_indexes WHERE row_id = ?", index_id)
    for row_id in rows:
        if with_terms:
            tx.run(f"DELETE FROM {terms_table(index_id)} WHERE rowid = ?", row_id)  # noqa: S608 (a number)
        if dimension is not None:
            tx.run(f"DELETE FROM {vectors_table(dimension)} WHERE chunk_row_id = ?", row_id)  # noqa: S608 (a number)
        tx.run("DELETE FROM chunk_vectors WHERE chunk_row_id = ?", row_id)
        tx.run("DELETE FROM chunks WHERE row_id = ?", row_id)


@dataclass(frozen=True)
class Hit:
    """A chunk that a leg found. `score`: of vectors the cosine, of words BM25 (higher is better)."""

    row_id: int
    score: float


Condition = tuple[str, tuple[Any, ...]]
"""What chunks must be: SQL that selects their row ids, and its parameters."""


def nearest(
    db: Reader, index: Index, vector: NDArray[np.float32], *, count: int, candidates: int, only: Condition | None
) -> list[Hit]:
    """The chunks whose vectors are nearest: `candidates` by their signs, of which the best `count` by the numbers."""
    if index.dimension is None:
        return []
    where, params = ("", ()) if only is None else (f" AND chunk_row_id IN ({only[0]})", only[1])
    rows = db.all(
        f"WITH near AS MATERIALIZED (SELECT chunk_row_id FROM {vectors_table(index.dimension)}"  # noqa: S608 (a number)
        f" WHERE index_id = ? AND signs MATCH vec_bit(?) AND k = ?{where})"
        " SELECT near.chunk_row_id, 1 - vec_distance_cosine(chunk_vectors.vector, ?) AS cosine"
        " FROM near JOIN chunk_vectors ON chunk_vectors.chunk_row_id = near.chunk_row_id"
        " ORDER BY cosine DESC, near.chunk_row_id LIMIT ?",
        *(index.row_id, signs(vector), candidates, *params, vector.tobytes(), count),
    )
    return [Hit(row_id, cosine) for row_id, cosine in rows]


def matching(
    db: Reader, index: Index, words: Sequence[Sequence[str]], count: int, only: Condition | None = None
) -> list[Hit]:
    """The chunks in which any of the words stand, the best `count` by BM25. A word is the terms it may stand as."""
    expression = " OR ".join('"' + term.replace('"', '""') + '"' for term in _telling(db, index, words))
    if not expression:
        return []
    table = terms_table(index.row_id)
    where, params = ("", ()) if only is None else (f" AND rowid IN ({only[0]})", only[1])
    rows = db.all(
        f"SELECT rowid, rank FROM {table} WHERE {table} MATCH ?{where} ORDER BY rank LIMIT ?",  # noqa: S608 (a number)
        *(expression, *params, count),
    )
    return [Hit(row_id, -rank) for row_id, rank in rows]


def _telling(db: Reader, index: Index, words: Sequence[Sequence[str]]) -> list[str]:
    """The terms to look for: those of the rarest words, until they stand in so many chunks that ranking takes long.

    In a large base, words that stand everywhere tell little and cost most.
    """
    counted = []
    for word in words:
        rows = db.all(
            f"SELECT term, doc FROM {words_table(index.row_id)}"  # noqa: S608 (a number)
            " WHERE term IN (SELECT value FROM json_each(?))",
            msgspec.json.encode(word).decode(),
        )
        if rows:
            counted.append((sum(chunks for _, chunks in rows), [term for term, _ in rows]))
    counted.sort()
    terms: list[str] = []
    ranked = 0
    for chunks, found in counted:
        ranked += chunks
        if terms and ranked > _MOST_RANKED:
            break
        terms += found
    return list(dict.fromkeys(terms))
