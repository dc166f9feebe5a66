"""Originals: pieces of 1 MB in the store, so that no file needs a long transaction or a place in memory.

A blob is seen once a document refers to it; what nobody refers to is swept.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from secureai_appliance.core.errors import Failure
from secureai_appliance.store import Store, Transaction

PIECE = 1024 * 1024
_UNFINISHED_SECONDS = 24 * 3600
_SWEPT_AT_ONCE = 32


class BlobWriter:
    """A file on its way into the store. Each full piece is a transaction; the last one goes with `finish`."""

    def __init__(self, store: Store) -> None:
        self.size = 0
        self._store = store
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._row_id: int | None = None
        self._pieces = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, data: bytes | bytearray) -> None:
        """Take the next bytes. Raises ServiceUnavailable."""
        self.size += len(data)
        self._digest.update(data)
        self._pending += data
        while len(self._pending) > PIECE:
            piece = bytes(self._pending[:PIECE])
            with self._store.transaction() as tx:
                self._put(tx, piece)

    def discard(self) -> None:
        """Take away what was written, when it becomes no document after all. What can't go now is swept later."""
        if self._row_id is None:
            return
        with contextlib.suppress(Failure):
            while not self._is_gone(self._row_id):
                pass

    def _is_gone(self, row_id: int) -> bool:
        with self._store.transaction() as tx:
            if tx.value("SELECT EXISTS (SELECT 1 FROM documents WHERE blob_id = ?)", row_id):
                return True
            remove(tx, row_id)
            return not tx.value("SELECT EXISTS (SELECT 1 FROM blobs WHERE row_id = ?)", row_id)

    @property
    def pending(self) -> int:
        """Bytes that are in memory still."""
        return len(self._pending)

    def finish(self, tx: Transaction) -> int:
        """Write what is left, once in a transaction; the blob's number, for a document of this one or a later one."""
        if self._row_id is not None and not self._pending:
            return self._row_id
        return self._put(tx, bytes(self._pending))

    def _put(self, tx: Transaction, piece: bytes) -> int:
        row_id = self._row_id
        if row_id is None:
            tx.run("INSERT INTO blobs (created_at) VALUES (?)", tx.now())
            row_id = int(tx.value("SELECT last_insert_rowid()"))
        tx.run("INSERT INTO blob_pieces (blob_id, number, bytes) VALUES (?, ?, ?)", row_id, self._pieces, piece)
        # not before: a number that is rolled back is the next one's, whose bytes `discard` would take away
        tx.after_commit(partial(self._stored, row_id, len(piece)))
        return row_id

    def _stored(self, row_id: int, size: int) -> None:
        self._row_id = row_id
        self._pieces += 1
        del self._pending[:size]


def flush(store: Store, writers: Sequence[BlobWriter]) -> None:
    """Write what is left of several files, in one transaction. Raises ServiceUnavailable."""
    with store.transaction() as tx:
        for writer in writers:
            writer.finish(tx)


def pieces(store: Store, blob_id: int) -> Iterator[bytes]:
    """The bytes, piece by piece, each read on its own: no reader is held while somebody takes their time."""
    number = 0
    while True:
        with store.read() as db:
            piece = db.value("SELECT bytes FROM blob_pieces WHERE blob_id = ? AND number = ?", blob_id, number)
        if piece is None:
            return
        yield piece
        number += 1


def unpack(store: Store, blob_id: int, path: Path) -> None:
    """Write a blob to a file, for its owner alone."""
    path.touch(mode=0o600)
    with path.open("wb") as file:
        for piece in pieces(store, blob_id):
            file.write(piece)


def sweep(store: Store, *, all_unfinished: bool = False) -> bool:
    """Take away pieces that no document refers to, some at a time; whether there may be more.

    What is younger than a day may still be on its way, unless nothing is being uploaded (`all_unfinished`).
    """
    with store.read() as db:
        last = db.value("SELECT last_time FROM instance")
        before = last + 1 if all_unfinished else last - _UNFINISHED_SECONDS
        lost = db.value(
            "SELECT row_id FROM blobs WHERE created_at < ? AND NOT EXISTS"
            " (SELECT 1 FROM documents WHERE blob_id = blobs.row_id) LIMIT 1",
            before,
        )
    if lost is None:
        return False
    with store.transaction() as tx:
        if not tx.value("SELECT EXISTS (SELECT 1 FROM documents WHERE blob_id = ?)", lost):
            remove(tx, lost)
    return True


def remove(tx: Transaction, blob_id: int) -> None:
    """Take a blob away, or as much of it as one transaction should."""
    tx.run(
        "DELETE FROM blob_pieces WHERE rowid IN (SELECT rowid FROM blob_pieces WHERE blob_id = ? LIMIT ?)",
        *(blob_id, _SWEPT_AT_ONCE),
    )
    if not tx.value("SELECT EXISTS (SELECT 1 FROM blob_pieces WHERE blob_id = ?)", blob_id):
        tx.run("DELETE FROM blobs WHERE row_id = ?", blob_id)
