"""Jobs of reading documents: who has them, and how they end.

A worker leases some for two minutes and keeps the lease while it works; a document's outcome is one transaction, in
which the lease still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.ids import random_text
from secureai_appliance.governance import audit, events
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.events import DocumentError, DocumentFailed, DocumentIndexed
from secureai_appliance.knowledge import documents, index, indexes
from secureai_appliance.knowledge.chunking import Chunk
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.knowledge.extract.extracted import Extracted, Unreadable
from secureai_appliance.knowledge.index import Entry
from secureai_appliance.knowledge.indexes import Chunking, Index
from secureai_appliance.store import Store, Transaction

LEASE_SECONDS = 120
MOST_ATTEMPTS = 3
TOGETHER = 16
"""Documents that are embedded in one go, while they are small."""
_TOGETHER_BYTES = 256 * 1024
_LATER_SECONDS = 10


@dataclass
class Task:
    """A leased job and what has become of it so far."""

    job_id: int
    document_id: str
    base_id: str
    filename: str
    content_type: str
    blob_id: int
    password: bytes | None
    size: int
    searched: bool
    """Whether its index is the one that is searched."""
    extracted: Extracted | None = None
    chunks: list[Chunk] = field(default_factory=list)


def void_leases(store: Store) -> None:
    """Nobody has a job any more, and none waits: who had one was a process that has ended."""
    with store.transaction() as tx:
        tx.run("UPDATE ingest_jobs SET leased_until = 0, lease = NULL WHERE leased_until > 0")


def claim(store: Store, clock: Clock) -> tuple[str, Index, list[Task]] | None:
    """A lease, the index that its documents belong into, and their jobs; None when there is nothing to do."""
    with store.read() as db:
        if not db.value("SELECT EXISTS (SELECT 1 FROM ingest_jobs WHERE leased_until <= ?)", int(clock.now())):
            return None
    with store.transaction() as tx:
        now = tx.wall()
        first = tx.one(
            "SELECT j.index_id FROM ingest_jobs j JOIN knowledge_indexes i ON i.row_id = j.index_id"
            " WHERE j.leased_until <= ? AND i.base_id IS NOT NULL ORDER BY j.attempts, j.row_id LIMIT 1",
            now,
        )
        if first is None:
            return None
        rows = tx.all(
            "SELECT j.row_id, d.id, d.base_id, d.filename, d.content_type, d.blob_id, d.password, d.size_bytes,"
            " i.state = 'active', j.attempts"
            " FROM ingest_jobs j JOIN documents d ON d.id = j.document_id"
            " JOIN knowledge_indexes i ON i.row_id = j.index_id"
            " WHERE j.index_id = ? AND j.leased_until <= ? ORDER BY j.attempts, j.row_id LIMIT ?",
            *(first[0], now, TOGETHER),
        )
        target = _index(tx, first[0])
        lease = random_text(20)
        tasks = _together(rows)
        for task in tasks:
            tx.run(
                "UPDATE ingest_jobs SET attempts = attempts + 1, leased_until = ?, lease = ? WHERE row_id = ?",
                *(now + LEASE_SECONDS, lease, task.job_id),
            )
    spent = {row[0] for row in rows if row[9] >= MOST_ATTEMPTS}
    ended = Unreadable("resource_limit", "The program ended each time that it read this file.")
    fail_all(store, lease, target, [task for task in tasks if task.job_id in spent], ended)
    return lease, target, [task for task in tasks if task.job_id not in spent]


def give_back(store: Store, lease: str, *, later: bool) -> None:
    """Let the jobs be done from the beginning: at once, or `later`."""
    with store.transaction() as tx:
        tx.run(
            "UPDATE ingest_jobs SET attempts = max(attempts - 1, 0), leased_until = ?, lease = NULL WHERE lease = ?",
            *(tx.wall() + _LATER_SECONDS if later else 0, lease),
        )


def fail_all(store: Store, lease: str, target: Index, tasks: Sequence[Task], failure: Unreadable) -> None:
    """These documents can't be read."""
    for task in tasks:
        with store.transaction() as tx:
            if is_ours(tx, lease, task):
                _failed(tx, target, task, failure)


def _together(rows: Sequence[tuple[Any, ...]]) -> list[Task]:
    """As many of the jobs as are small enough to be done in one go, at least one."""
    tasks: list[Task] = []
    size = 0
    for row in rows:
        task = Task(*row[:9])
        size += task.size
        if tasks and size > _TOGETHER_BYTES:
            break
        tasks.append(task)
    return tasks


def _index(tx: Transaction, row_id: int) -> Index:
    model, dimension, size, overlap = tx.all(
        "SELECT embedding_model, dimension, chunk_size, chunk_overlap FROM knowledge_indexes WHERE row_id = ?", row_id
    )[0]
    return Index(row_id, model, dimension, Chunking(size=size, overlap=overlap))


def keep(tx: Transaction, lease: str) -> None:
    """Hold the lease for longer."""
    tx.run("UPDATE ingest_jobs SET leased_until = ? WHERE lease = ?", tx.wall() + LEASE_SECONDS, lease)


def is_ours(tx: Transaction, lease: str, task: Task) -> bool:
    """Whether the job is still this lease's: the document was not deleted, cancelled or changed meanwhile."""
    ours: int = tx.value(
        "SELECT EXISTS (SELECT 1 FROM ingest_jobs WHERE row_id = ? AND document_id = ? AND lease = ?)",
        *(task.job_id, task.document_id, lease),
    )
    return bool(ours)


def _is_searched(tx: Transaction, target: Index) -> bool:
    return bool(tx.value("SELECT state = 'active' FROM knowledge_indexes WHERE row_id = ?", target.row_id))


def indexed(tx: Transaction, target: Index, task: Task, entries: Sequence[Entry], inside: Sequence[NewFile]) -> None:
    """The document's chunks, its status, its event and the end of its job: one transaction."""
    assert task.extracted is not None
    index.put(tx, target, task.document_id, entries)
    tx.run("DELETE FROM ingest_jobs WHERE row_id = ?", task.job_id)
    searched = _is_searched(tx, target)
    if searched:
        for file in inside:
            documents.attach(tx, task.base_id, file, task.document_id)
        tx.run(
            "UPDATE documents SET status = 'indexed', progress = 1, error_code = NULL, error_message = NULL,"
            " content_type = ?, page_count = ?, chunk_count = ?, metadata = ?, indexed_at = ?, updated_at = ?"
            " WHERE id = ?",
            *(
                task.extracted.content_type,
                task.extracted.page_count,
                len(entries),
                msgspec.json.encode(task.extracted.metadata).decode(),
            ),
            *(tx.now(), tx.now(), task.document_id),
        )
        details: audit.Details = {"knowledge_base_id": task.base_id, "chunks": len(entries)}
        audit.record(tx, SYSTEM, "document.indexed", "document", task.document_id, details=details)
        events.emit(
            tx,
            DocumentIndexed(
                document_id=task.document_id,
                knowledge_base_id=task.base_id,
                filename=task.filename,
                page_count=task.extracted.page_count,
            ),
        )
    indexes.settle(tx, task.base_id)


def _failed(tx: Transaction, target: Index, task: Task, failure: Unreadable) -> None:
    """The document can't be read: its status, its event and the end of its job."""
    index.remove(tx, target.row_id, task.document_id)
    tx.run("DELETE FROM ingest_jobs WHERE row_id = ?", task.job_id)
    if _is_searched(tx, target):
        tx.run(
            "UPDATE documents SET status = 'failed', error_code = ?, error_message = ?, chunk_count = 0,"
            " updated_at = ? WHERE id = ?",
            *(failure.code, failure.message, tx.now(), task.document_id),
        )
        details: audit.Details = {"knowledge_base_id": task.base_id, "code": failure.code}
        audit.record(tx, SYSTEM, "document.failed", "document", task.document_id, details=details, outcome="failure")
        events.emit(
            tx,
            DocumentFailed(
                document_id=task.document_id,
                knowledge_base_id=task.base_id,
                filename=task.filename,
                error=DocumentError(code=failure.code, message=failure.message),
            ),
        )
    indexes.settle(tx, task.base_id)
