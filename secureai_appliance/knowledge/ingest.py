"""From a file to chunks that can be found: jobs that survive a crash, each document whole or not at all.

A worker leases some jobs, reads and cuts the files, embeds all of their chunks in one go (batches of like length keep
every core busy) and puts each document into its index in one transaction, with its words and vectors. A process that is
killed leaves leases behind, which the next start gives up: nothing was visible yet, so the job begins anew. A file that
ends the process time and again fails, and never holds up the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, NotFound, ServiceUnavailable
from secureai_appliance.core.ids import random_text
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import audit, events
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.events import DocumentError, DocumentFailed, DocumentIndexed
from secureai_appliance.inference.generation import Priority
from secureai_appliance.knowledge import bases, blobs, documents, embedding, index
from secureai_appliance.knowledge.bases import Chunking, Index
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.chunking import Chunk, chunked
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.knowledge.extract import kinds, reading, worker
from secureai_appliance.knowledge.extract.extracted import Extracted, Limits, Unreadable
from secureai_appliance.knowledge.index import Entry
from secureai_appliance.knowledge.terms import terms
from secureai_appliance.store import Store, Transaction

if TYPE_CHECKING:
    from secureai_appliance.inference.embedder import Embedder
    from secureai_appliance.models.registry import Models

log = logging.getLogger(__name__)

WORKERS = 2
LEASE_SECONDS = 120
MOST_ATTEMPTS = 3
TOGETHER = 16
"""Documents that are embedded in one go, while they are small."""
_TOGETHER_BYTES = 256 * 1024
_EMBEDDED_AT_ONCE = 64
_READ_HERE_BYTES = 64 * 1024
_TOLD_EVERY = 1.0
_LATER_SECONDS = 10
_IDLE_SECONDS = 5.0


@dataclass
class _Task:
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


class _Lost(Exception):
    """The job is no longer ours: the document was deleted, cancelled or changed meanwhile."""


class Ingest:
    """The workers. `work` does what there is to do next, in the calling thread; `start` has threads do it."""

    def __init__(self, store: Store, clock: Clock, models: Models, sealer: Sealer, folder: Path) -> None:
        """`folder` is for files that are being read."""
        self.store = store
        self._clock = clock
        self._models = models
        self._sealer = sealer
        self._folder = folder
        self._changed = threading.Condition()
        self._woken = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._live, name=f"ingest {number}", daemon=True) for number in range(WORKERS)
        ]

    def start(self) -> None:
        """Begin; leases of an earlier process are void."""
        with self.store.transaction() as tx:
            tx.run("UPDATE ingest_jobs SET leased_until = 0, lease = NULL WHERE lease IS NOT NULL")
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is something new to do."""
        with self._changed:
            self._woken += 1
            self._changed.notify_all()

    def stop(self, timeout: float) -> bool:
        """End after the step that runs now; what is unfinished begins anew at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def work(self) -> bool:
        """Take jobs, if there are any, and bring them to their end; whether there were."""
        claimed = self._claim()
        if claimed is None:
            return False
        lease, target, tasks = claimed
        try:
            with embedding.embedder(self.store, self._models, target.embedding_model, self.is_stopping) as model:
                self._do(_Work(self, lease, target, model), tasks)
        except NotFound:
            self._fail_all(lease, target, tasks, "resource_limit", "The embedding model is not there any more.")
        except Failure as failure:
            # the model or the store is not at hand now: the documents are not to blame
            log.info("documents wait: %s", failure.message)
            self._give_back(lease, later=True)
        except _Stopped:
            self._give_back(lease, later=False)
        return True

    def _live(self) -> None:
        while not self._stopping:
            seen = self._woken
            try:
                if self.work():
                    continue
            except ServiceUnavailable as failure:
                log.warning("documents wait: %s", failure.message)
            except Exception:
                log.exception("a worker of documents failed")
            with self._changed:
                if not self._stopping and self._woken == seen:
                    self._changed.wait(_IDLE_SECONDS)

    def is_stopping(self) -> bool:
        """Whether the program is ending."""
        return self._stopping

    # taking and giving back

    def _claim(self) -> tuple[str, Index, list[_Task]] | None:
        with self.store.read() as db:
            if not db.value(
                "SELECT EXISTS (SELECT 1 FROM ingest_jobs WHERE leased_until <= ?)", int(self._clock.now())
            ):
                return None
        with self.store.transaction() as tx:
            now = tx.now()
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
        self._fail_all(
            lease,
            target,
            [task for task in tasks if task.job_id in spent],
            "resource_limit",
            "The program ended each time that it read this file.",
        )
        return lease, target, [task for task in tasks if task.job_id not in spent]

    def _give_back(self, lease: str, *, later: bool) -> None:
        with self.store.transaction() as tx:
            tx.run(
                "UPDATE ingest_jobs SET attempts = max(attempts - 1, 0), leased_until = ?, lease = NULL"
                " WHERE lease = ?",
                *(tx.now() + _LATER_SECONDS if later else 0, lease),
            )

    def _fail_all(self, lease: str, target: Index, tasks: Sequence[_Task], code: str, message: str) -> None:
        for task in tasks:
            with self.store.transaction() as tx:
                if _is_ours(tx, lease, task):
                    _failed(tx, target, task, code, message)

    # doing

    def _do(self, work: _Work, tasks: list[_Task]) -> None:
        readable: list[_Task] = []
        with TemporaryDirectory(dir=self._folder) as folder:
            for task in tasks:
                try:
                    self._read(work, task, Path(folder) / "document")
                except Unreadable as failure:
                    self._fail_all(work.lease, work.target, [task], failure.code, failure.message)
                except _Lost:
                    continue
                else:
                    readable.append(task)
        entries = self._embed(work, readable)
        for task in readable:
            # the long part of writing them comes before the transaction that shows them
            inside = self._inside(task)
            with self.store.transaction() as tx:
                if _is_ours(tx, work.lease, task):
                    _indexed(tx, work.target, task, entries.get(task.job_id, []), inside)

    def _inside(self, task: _Task) -> list[NewFile]:
        """The files in the file (an e-mail's), which become documents of their own."""
        files = []
        if task.searched and task.extracted is not None:
            for attachment in task.extracted.attachments:
                blob = BlobWriter(self.store)
                blob.write(attachment.data)
                files.append(NewFile(attachment.filename, attachment.content_type, blob))
        return files

    def _read(self, work: _Work, task: _Task, path: Path) -> None:
        work.tell(task, "extracting", 0.0)
        blobs.unpack(self.store, task.blob_id, path)
        task.extracted = self._extract(work, task, path)
        path.unlink()
        size = min(work.target.chunking.size, work.model.max_tokens - embedding.SPECIAL_TOKENS)

        def count(text: str) -> int:
            work.tell(task, "extracting", 0.2)
            return embedding.count(work.model, text)

        task.chunks = chunked(task.extracted, size, work.target.chunking.overlap, count)
        work.tell(task, "embedding", 0.2)

    def _extract(self, work: _Work, task: _Task, path: Path) -> Extracted:
        """What is short and plain is read here: a process of its own would cost more than the reading."""
        limits = Limits()
        if task.size <= _READ_HERE_BYTES and (
            kinds.kind_of(path, task.filename, task.content_type, limits) in {kinds.TEXT, kinds.MARKDOWN}
        ):
            return reading.extract(path, task.filename, task.content_type, limits=limits)
        share = 0.0

        def cancelled() -> bool:
            work.tell_all([task], "extracting", share)
            return task.job_id in work.lost

        def told(done: float) -> None:
            nonlocal share
            share = 0.2 * done

        password = documents.password_of(self._sealer, task.document_id, task.password)
        return worker.run(
            *(path, task.filename, task.content_type),
            password=password,
            limits=limits,
            on_progress=told,
            cancelled=cancelled,
        )

    def _embed(self, work: _Work, tasks: list[_Task]) -> dict[int, list[Entry]]:
        pieces = [
            (task, chunk, embedding.tokens(work.model, chunk.passage())) for task in tasks for chunk in task.chunks
        ]
        order = sorted(range(len(pieces)), key=lambda number: len(pieces[number][2]))
        made: dict[int, Any] = {}
        for begin in range(0, len(order), _EMBEDDED_AT_ONCE):
            part = [
                number
                for number in order[begin : begin + _EMBEDDED_AT_ONCE]
                if pieces[number][0].job_id not in work.lost
            ]
            found = embedding.vectors(work.model, [pieces[number][2] for number in part], priority=Priority.INDEXING)
            made.update(zip(part, found, strict=True))
            share = 0.2 + 0.75 * len(made) / len(order)
            work.tell_all(tasks, "embedding", share)
        entries: dict[int, list[Entry]] = {}
        for number, (task, chunk, _) in enumerate(pieces):
            if task.job_id in work.lost:
                continue
            mine = entries.setdefault(task.job_id, [])
            # a file is also found by its name
            words = terms(chunk.passage() if mine else f"{task.filename}\n{chunk.passage()}")
            heading = " > ".join(chunk.headings)
            mine.append(Entry(chunk.text, chunk.start, chunk.end, chunk.page, heading, words, made[number]))
        return entries


class _Stopped(Exception):
    """The program is ending."""


class _Work:
    """What the steps of one lot share."""

    def __init__(self, ingest: Ingest, lease: str, target: Index, model: Embedder) -> None:
        self.lease = lease
        self.target = target
        self.model = model
        self.lost: set[int] = set()
        self._ingest = ingest
        self._told = time.monotonic()

    def tell(self, task: _Task, status: str, progress: float) -> None:
        """Show how far a document is, and keep the lease. Raises _Lost when the job is not ours any more."""
        self.tell_all([task], status, progress)
        if task.job_id in self.lost:
            raise _Lost

    def tell_all(self, tasks: Sequence[_Task], status: str, progress: float) -> None:
        """The same for all that are at this point; those that are not ours any more are in `lost` then.

        Once a second: of what is done in no time nothing is told. Raises _Stopped when the program is ending.
        """
        if self._ingest.is_stopping():
            raise _Stopped
        now = time.monotonic()
        if now - self._told < _TOLD_EVERY:
            return
        self._told = now
        with self._ingest.store.transaction() as tx:
            tx.run("UPDATE ingest_jobs SET leased_until = ? WHERE lease = ?", tx.now() + LEASE_SECONDS, self.lease)
            for task in tasks:
                if not _is_ours(tx, self.lease, task):
                    self.lost.add(task.job_id)
                elif task.searched:
                    tx.run(
                        "UPDATE documents SET status = ?, progress = ? WHERE id = ?",
                        *(status, round(progress, 2), task.document_id),
                    )


def _together(rows: Sequence[tuple[Any, ...]]) -> list[_Task]:
    """As many of the jobs as are small enough to be done in one go, at least one."""
    tasks: list[_Task] = []
    size = 0
    for row in rows:
        task = _Task(*row[:9])
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


def _is_ours(tx: Transaction, lease: str, task: _Task) -> bool:
    ours: int = tx.value(
        "SELECT EXISTS (SELECT 1 FROM ingest_jobs WHERE row_id = ? AND document_id = ? AND lease = ?)",
        *(task.job_id, task.document_id, lease),
    )
    return bool(ours)


def _is_searched(tx: Transaction, target: Index) -> bool:
    return bool(tx.value("SELECT state = 'active' FROM knowledge_indexes WHERE row_id = ?", target.row_id))


def _indexed(tx: Transaction, target: Index, task: _Task, entries: Sequence[Entry], inside: Sequence[NewFile]) -> None:
    """The document's chunks, its status, its event and the end of its job: one transaction."""
    assert task.extracted is not None
    index.put(tx, target, task.document_id, entries)
    tx.run("DELETE FROM ingest_jobs WHERE row_id = ?", task.job_id)
    searched = _is_searched(tx, target)
    if searched:
        for file in inside:
            documents.attach(tx, task.base_id, file)
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
    bases.settle(tx, task.base_id)


def _failed(tx: Transaction, target: Index, task: _Task, code: str, message: str) -> None:
    """The document can't be read: its status, its event and the end of its job."""
    index.remove(tx, target.row_id, task.document_id)
    tx.run("DELETE FROM ingest_jobs WHERE row_id = ?", task.job_id)
    if _is_searched(tx, target):
        tx.run(
            "UPDATE documents SET status = 'failed', error_code = ?, error_message = ?, chunk_count = 0,"
            " updated_at = ? WHERE id = ?",
            *(code, message, tx.now(), task.document_id),
        )
        details: audit.Details = {"knowledge_base_id": task.base_id, "code": code}
        audit.record(tx, SYSTEM, "document.failed", "document", task.document_id, details=details, outcome="failure")
        events.emit(
            tx,
            DocumentFailed(
                document_id=task.document_id,
                knowledge_base_id=task.base_id,
                filename=task.filename,
                error=DocumentError(code=code, message=message),
            ),
        )
    bases.settle(tx, task.base_id)
