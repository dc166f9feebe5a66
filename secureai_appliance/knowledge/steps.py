"""What becomes of the documents of one lease: read, cut, embedded, and put into their index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from secureai_appliance.core.sealing import Sealer
from secureai_appliance.inference.generation import Priority
from secureai_appliance.knowledge import blobs, documents, embedding, jobs
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.chunking import Chunk, chunked
from secureai_appliance.knowledge.data import is_data
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.knowledge.extract import kinds, reading, worker
from secureai_appliance.knowledge.extract.extracted import Extracted, Limits, Unreadable
from secureai_appliance.knowledge.index import Entry
from secureai_appliance.knowledge.indexes import Index
from secureai_appliance.knowledge.jobs import Task
from secureai_appliance.knowledge.terms import terms
from secureai_appliance.store import Store

if TYPE_CHECKING:
    from secureai_appliance.inference.embedder import Embedder

_EMBEDDED_AT_ONCE = 64
_READ_HERE_BYTES = 64 * 1024
_TOLD_EVERY = 1.0
_MOST_DATA = 64
"""Passages of a document that are embedded although they are no language."""


class _Lost(Exception):
    """The job is no longer ours: the document was deleted, cancelled or changed meanwhile."""


class Stopped(Exception):
    """The program is ending."""


@dataclass(frozen=True)
class Tools:
    """What the steps need. `folder` is for files that are being read."""

    store: Store
    sealer: Sealer
    folder: Path
    is_stopping: Callable[[], bool]


class Work:
    """The documents of one lease on their way into an index."""

    def __init__(self, tools: Tools, lease: str, target: Index, model: Embedder) -> None:
        self._store = tools.store
        self._sealer = tools.sealer
        self._folder = tools.folder
        self._is_stopping = tools.is_stopping
        self.lease = lease
        self.target = target
        self.model = model
        self.lost: set[int] = set()
        self._told = time.monotonic()

    def tell(self, task: Task, status: str, progress: float) -> None:
        """Show how far a document is, and keep the lease. Raises _Lost when the job is not ours any more."""
        self.tell_all([task], status, progress)
        if task.job_id in self.lost:
            raise _Lost

    def tell_all(self, tasks: Sequence[Task], status: str, progress: float) -> None:
        """The same for all that are at this point; those that are not ours any more are in `lost` then.

        Once a second: of what is done in no time nothing is told. Raises Stopped when the program is ending.
        """
        if self._is_stopping():
            raise Stopped
        now = time.monotonic()
        if now - self._told < _TOLD_EVERY:
            return
        self._told = now
        with self._store.transaction() as tx:
            jobs.keep(tx, self.lease)
            for task in tasks:
                if not jobs.is_ours(tx, self.lease, task):
                    self.lost.add(task.job_id)
                elif task.searched:
                    tx.run(
                        "UPDATE documents SET status = ?, progress = ? WHERE id = ?",
                        *(status, round(progress, 2), task.document_id),
                    )

    def do(self, tasks: list[Task]) -> None:
        """Bring the documents to their end. Raises Stopped, and Failure where the model or the store is not at hand."""
        readable: list[Task] = []
        with TemporaryDirectory(dir=self._folder) as folder:
            for task in tasks:
                try:
                    self._read(task, Path(folder) / "document")
                except Unreadable as failure:
                    jobs.fail_all(self._store, self.lease, self.target, [task], failure)
                except _Lost:
                    continue
                else:
                    readable.append(task)
        entries = self._embed(readable)
        for task in readable:
            # the long part of writing them comes before the transaction that shows them
            inside = self._inside(task)
            with self._store.transaction() as tx:
                if jobs.is_ours(tx, self.lease, task):
                    jobs.indexed(tx, self.target, task, entries.get(task.job_id, []), inside)

    def _inside(self, task: Task) -> list[NewFile]:
        """The files in the file (an e-mail's), which become documents of their own."""
        files = []
        if task.searched and task.extracted is not None:
            for attachment in task.extracted.attachments:
                blob = BlobWriter(self._store)
                blob.write(attachment.data)
                files.append(NewFile(attachment.filename, attachment.content_type, blob))
        return files

    def _read(self, task: Task, path: Path) -> None:
        self.tell(task, "extracting", 0.0)
        blobs.unpack(self._store, task.blob_id, path)
        task.extracted = self._extract(task, path)
        path.unlink()
        size = min(self.target.chunking.size, self.model.max_tokens - embedding.SPECIAL_TOKENS)

        def count(text: str) -> int:
            self.tell(task, "extracting", 0.2)
            return embedding.count(self.model, text)

        task.chunks = chunked(task.extracted, size, self.target.chunking.overlap, count)
        self.tell(task, "embedding", 0.2)

    def _extract(self, task: Task, path: Path) -> Extracted:
        """What is short and plain is read here: a process of its own would cost more than the reading."""
        limits = Limits()
        if task.size <= _READ_HERE_BYTES and (
            kinds.kind_of(path, task.filename, task.content_type, limits) in {kinds.TEXT, kinds.MARKDOWN}
        ):
            return reading.extract(path, task.filename, task.content_type, limits=limits)
        share = 0.0

        def cancelled() -> bool:
            self.tell_all([task], "extracting", share)
            return task.job_id in self.lost

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

    def _embed(self, tasks: list[Task]) -> dict[int, list[Entry]]:
        pieces = [piece for task in tasks for piece in self._pieces(task)]
        order = sorted(
            (number for number, (_, _, ids) in enumerate(pieces) if ids), key=lambda number: len(pieces[number][2])
        )
        made: dict[int, Any] = {}
        for begin in range(0, len(order), _EMBEDDED_AT_ONCE):
            part = [
                number
                for number in order[begin : begin + _EMBEDDED_AT_ONCE]
                if pieces[number][0].job_id not in self.lost
            ]
            found = embedding.vectors(self.model, [pieces[number][2] for number in part], priority=Priority.INDEXING)
            made.update(zip(part, found, strict=True))
            share = 0.2 + 0.75 * len(made) / len(order)
            self.tell_all(tasks, "embedding", share)
        entries: dict[int, list[Entry]] = {}
        for number, (task, chunk, _) in enumerate(pieces):
            if task.job_id in self.lost:
                continue
            mine = entries.setdefault(task.job_id, [])
            # a file is also found by its name
            words = terms(chunk.passage() if mine else f"{task.filename}\n{chunk.passage()}")
            heading = " > ".join(chunk.headings)
            mine.append(Entry(chunk.text, chunk.start, chunk.end, chunk.page, heading, words, made.get(number)))
        return entries

    def _pieces(self, task: Task) -> Iterator[tuple[Task, Chunk, list[int]]]:
        """The chunks of a document, each with its tokens; with none where it is found by its words alone.

        A megabyte of base64 would be embedded for minutes, for nobody to ask for.
        """
        data = left_out = 0
        for chunk in task.chunks:
            self.tell_all([task], "embedding", 0.2)
            is_no_language = is_data(chunk.text)
            data += is_no_language
            if is_no_language and data > _MOST_DATA:
                left_out += 1
                yield task, chunk, []
            else:
                yield task, chunk, embedding.tokens(self.model, chunk.passage())
        if left_out and task.extracted is not None:
            told = f"{left_out} of {len(task.chunks)} passages are data and no language: they are found by their words."
            task.extracted.metadata["note"] = told
