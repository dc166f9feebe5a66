"""Indexes of knowledge bases: the one that is searched, the one that is built beside it, and what waits for them.

How a base is cut and embedded stands in its index. When that is to change, another index is built from all documents
and takes the first one's place in one transaction: results are wholly old or wholly new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.governance import audit
from secureai_appliance.store import Reader, Transaction

CHUNK_SIZE = 256
CHUNK_OVERLAP = 32
# its terms are of letters and digits only: the tokenizer has nothing to decide
_FTS = "terms, content='', contentless_delete=1, tokenize='ascii'"


class Chunking(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """How documents are cut: `size` and `overlap` in tokens of the embedding model."""

    size: Annotated[int, Meta(ge=32, le=8192)] = CHUNK_SIZE
    overlap: Annotated[int, Meta(ge=0, le=4096)] = CHUNK_OVERLAP


@dataclass(frozen=True)
class Index:
    """A row of `knowledge_indexes`. `dimension` is None until a document is in it; it may have no tables till then."""

    row_id: int
    embedding_model: str
    dimension: int | None
    chunking: Chunking


_INDEX_COLUMNS = "row_id, embedding_model, dimension, chunk_size, chunk_overlap"


def active(db: Reader, base_id: str) -> Index:
    """The index that is searched."""
    return find(db, base_id, "active") or _no_index(base_id)


def find(db: Reader, base_id: str, state: Literal["active", "building"]) -> Index | None:
    """One of a base's indexes."""
    row = db.one(
        f"SELECT {_INDEX_COLUMNS} FROM knowledge_indexes WHERE base_id = ? AND state = ?",  # noqa: S608 (constant)
        *(base_id, state),
    )
    return None if row is None else _index(row)


def wanted(db: Reader, base_id: str) -> Index:
    """The index that is being built, else the one that is searched."""
    return find(db, base_id, "building") or active(db, base_id)


def rebuild(tx: Transaction, base_id: str, model: str, chunking: Chunking) -> None:
    """Begin to build another index beside the one that is searched, or give up building when that one is wanted."""
    now, building = active(tx, base_id), find(tx, base_id, "building")
    if building is not None:
        tx.run("DELETE FROM ingest_jobs WHERE index_id = ?", building.row_id)
        tx.run("UPDATE knowledge_indexes SET base_id = NULL WHERE row_id = ?", building.row_id)
    if (model, chunking) == (now.embedding_model, now.chunking):
        return
    built = add(tx, base_id, "building", model, chunking)
    tx.run(
        "INSERT INTO ingest_jobs (document_id, index_id, created_at) SELECT id, ?, ? FROM documents"
        " WHERE base_id = ? AND status <> 'cancelled'",
        *(built, tx.now(), base_id),
    )
    settle(tx, base_id)


def enqueue(tx: Transaction, base_id: str, document_id: str) -> None:
    """Have a document brought into the index that is searched, and into the one that is being built."""
    tx.run(
        "INSERT INTO ingest_jobs (document_id, index_id, created_at)"
        " SELECT ?, row_id, ? FROM knowledge_indexes WHERE base_id = ?"
        " ON CONFLICT DO UPDATE SET attempts = 0, leased_until = 0, lease = NULL",
        *(document_id, tx.now(), base_id),
    )


def enqueue_all(tx: Transaction, base_id: str) -> None:
    """The same with all documents of a new base that are queued: one statement for however many."""
    tx.run(
        "INSERT INTO ingest_jobs (document_id, index_id, created_at)"
        " SELECT documents.id, knowledge_indexes.row_id, ? FROM documents JOIN knowledge_indexes USING (base_id)"
        " WHERE base_id = ? AND status = 'queued' ORDER BY documents.row_id",
        *(tx.now(), base_id),
    )


def settle(tx: Transaction, base_id: str) -> bool:
    """Let the index that was built take the other's place once no document is missing; whether it did."""
    built = find(tx, base_id, "building")
    if built is None or tx.value("SELECT EXISTS (SELECT 1 FROM ingest_jobs WHERE index_id = ?)", built.row_id):
        return False
    was = active(tx, base_id)
    tx.run("DELETE FROM ingest_jobs WHERE index_id = ?", was.row_id)
    tx.run("UPDATE knowledge_indexes SET base_id = NULL WHERE row_id = ?", was.row_id)
    tx.run("UPDATE knowledge_indexes SET state = 'active' WHERE row_id = ?", built.row_id)
    tx.run(
        "UPDATE documents SET chunk_count = (SELECT COUNT(*) FROM chunks"
        " WHERE index_id = ? AND document_id = documents.id), updated_at = ? WHERE base_id = ?",
        *(built.row_id, tx.now(), base_id),
    )
    details: audit.Details = {"embedding_model": built.embedding_model, "chunk_size": built.chunking.size}
    audit.record(tx, audit.SYSTEM, "knowledge.rebuilt", "knowledge_base", base_id, details=details)
    return True


def add(tx: Transaction, base_id: str, state: str, model: str, chunking: Chunking) -> int:
    """Make an empty index; its number."""
    tx.run(
        "INSERT INTO knowledge_indexes (base_id, state, embedding_model, chunk_size, chunk_overlap, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        *(base_id, state, model, chunking.size, chunking.overlap, tx.now()),
    )
    row_id: int = tx.value("SELECT last_insert_rowid()")
    return row_id


def begin(tx: Transaction, index_id: int, dimension: int) -> None:
    """Make an index ready for its first document, whose vectors have so many numbers.

    Not before: a table makes every connection read the names of all tables again, which takes a tenth of a second
    where there are a thousand bases.
    """
    tx.run("UPDATE knowledge_indexes SET dimension = ? WHERE row_id = ?", dimension, index_id)
    terms, words = terms_table(index_id), words_table(index_id)
    tx.run(f"CREATE VIRTUAL TABLE IF NOT EXISTS {terms} USING fts5({_FTS})")
    tx.run(f"CREATE VIRTUAL TABLE IF NOT EXISTS {words} USING fts5vocab({terms}, 'row')")


def terms_table(index_id: int) -> str:
    """The table of an index's words: one for each, so that no base's statistics weigh in another's results."""
    return f"terms_{int(index_id)}"


def words_table(index_id: int) -> str:
    """The table that counts in how many chunks a word stands."""
    return f"words_{int(index_id)}"


def _index(row: tuple[Any, ...]) -> Index:
    row_id, model, dimension, size, overlap = row
    return Index(row_id, model, dimension, Chunking(size=size, overlap=overlap))


def _no_index(base_id: str) -> Index:
    raise RuntimeError(f"the knowledge base {base_id} has no index")
