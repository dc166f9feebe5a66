"""Large files that come in parts: what was answered is on disk, and a client goes on where it stopped.

The bytes lie in the data folder's `uploads`, a file each; a row says how many of them count. What is in a file beyond
that was written by a part that was never answered, and is written again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import (
    Conflict,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    UnprocessableEntity,
    ValidationError,
)
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.paths import DataFolder, flush_to_disk
from secureai_appliance.governance import audit
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Store, Transaction, list_page

log = logging.getLogger(__name__)

# the bytes go with the next sweep
OWNED = (Owned("uploads", "user_id", "delete"),)
MAX_PART = 8 * 1024 * 1024
"""Bytes."""
LIFETIME = 24 * 3600
_SPARE = 256 * 1024 * 1024
"""Bytes that an upload leaves free on the disk: the database has to be written."""
_PIECE = 4 * 1024 * 1024
_COLUMNS = "id, user_id, filename, size_bytes, sha256, received_bytes, created_at, updated_at"


class UploadCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file to come: its plain name, bytes and SHA-256."""

    filename: Annotated[str, Meta(min_length=1, max_length=255)]
    size: Annotated[int, Meta(ge=1, le=2**50)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}(?!\s)$", examples=["0" * 64])]


class Upload(msgspec.Struct, kw_only=True):
    """A file on its way. `offset` is where the next part goes; it is gone at `expires_at` unless a part comes."""

    id: str
    filename: str
    size: int
    sha256: str
    offset: int
    status: Literal["open", "complete"]
    expires_at: str
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class UploadRow:
    """An upload as stored."""

    id: str
    user_id: str
    filename: str
    size: int
    sha256: str
    offset: int
    created_at: int
    updated_at: int


def show(row: UploadRow) -> Upload:
    """The row as the API shows it."""
    return Upload(
        id=row.id,
        filename=row.filename,
        size=row.size,
        sha256=row.sha256,
        offset=row.offset,
        status="complete" if row.offset == row.size else "open",
        expires_at=rfc3339(row.updated_at + LIFETIME),
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
    )


_SPEC: ListSpec[Upload] = ListSpec(
    columns=_COLUMNS,
    source="uploads",
    sortable={"created_at": "created_at"},
    read=lambda values: show(UploadRow(*values)),
)


def list_(db: Reader, caller: Caller, query: ListQuery) -> Page[Upload]:
    """The caller's uploads."""
    return list_page(db, _SPEC, query, where="user_id = ?", params=(caller.user_id,))


def find(db: Reader, caller: Caller, upload_id: str) -> UploadRow:
    """One of the caller's uploads. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM uploads WHERE user_id = ? AND id = ?", caller.user_id, upload_id)  # noqa: S608
    if row is None:
        raise NotFound("There is no such upload.")
    return UploadRow(*row)


@dataclass(frozen=True)
class Bounds:
    """What the settings `uploads.…` say: the bytes of a file, and how many uploads a user may have at a time."""

    max_bytes: int
    per_user: int


def create(tx: Transaction, folder: DataFolder, bounds: Bounds, caller: Caller, body: UploadCreate) -> UploadRow:
    """Begin an upload.

    Raises ValidationError, Conflict for too many, PayloadTooLarge for a file beyond the bound or the room on the disk.
    """
    if body.filename != Path(body.filename).name or body.filename == ".." or not body.filename.isprintable():
        raise ValidationError(
            "The 'filename' field must be a name without a path.", field="filename", constraint="format"
        )
    if tx.value("SELECT COUNT(*) FROM uploads WHERE user_id = ?", caller.user_id) >= bounds.per_user:
        raise Conflict(
            f"You may have {bounds.per_user} uploads at a time: finish or delete one.", constraint="open_per_user"
        )
    if body.size > bounds.max_bytes:
        raise PayloadTooLarge(
            f"The file has {body.size} bytes; {bounds.max_bytes} are allowed.", details={"max_bytes": bounds.max_bytes}
        )
    # what others have announced and not sent yet is as good as taken
    announced = tx.value("SELECT COALESCE(SUM(size_bytes - received_bytes), 0) FROM uploads")
    free = shutil.disk_usage(folder.uploads).free - announced - _SPARE
    if body.size > free:
        raise PayloadTooLarge(
            f"The file has {body.size} bytes; {max(free, 0)} are free for uploads.", details={"max_bytes": max(free, 0)}
        )
    upload_id, now = new_id("upl"), tx.now()
    tx.run(
        "INSERT INTO uploads (id, user_id, filename, size_bytes, sha256, received_bytes, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
        *(upload_id, caller.user_id, body.filename, body.size, body.sha256.lower(), now, now),
    )
    audit.record(tx, caller.actor, "upload.created", "upload", upload_id, details={"size": body.size})
    return find(tx, caller, upload_id)


def remove(tx: Transaction, caller: Caller, row: UploadRow) -> None:
    """Forget an upload; its file goes with `Uploads.discard` once that is certain."""
    tx.run("DELETE FROM uploads WHERE user_id = ? AND id = ?", caller.user_id, row.id)
    audit.record(tx, caller.actor, "upload.deleted", "upload", row.id)


@dataclass
class Uploads:
    """The files of the uploads. Safe to use from any thread."""

    store: Store
    folder: DataFolder
    _busy: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def path(self, row: UploadRow) -> Path:
        return self.folder.uploads / row.id

    def append(self, caller: Caller, row: UploadRow, offset: int, part: bytes) -> UploadRow:
        """Write a part; when it returns, the part is on disk.

        1. The bytes, and then the disk is waited for. 2. With the last part the whole is compared with its checksum.
        3. The offset moves. A crash before 3 leaves bytes that the client sends again.

        Raises Conflict for another offset than the upload's (`details.offset` has it), ValidationError for too many
        bytes, UnprocessableEntity for another checksum: the upload begins anew then.
        """
        with self._lock:
            if row.id in self._busy:
                raise Conflict("Another part of this upload is being written.", constraint="busy")
            self._busy.add(row.id)
        try:
            with self.store.read() as db:
                row = find(db, caller, row.id)  # another part may have come in between
            self._check(row, offset, part)
            self._write(row, part)
            end = row.offset + len(part)
            whole = end == row.size
            if whole and self._digest(row) != row.sha256:
                self._move(caller, row, 0, "upload.damaged")
                raise UnprocessableEntity(
                    "The file's SHA-256 is not the one that was announced: send it again from the beginning.",
                    field="sha256",
                    constraint="checksum",
                    details={"offset": 0},
                )
            return self._move(caller, row, end, "upload.completed" if whole else "")
        finally:
            with self._lock:
                self._busy.discard(row.id)

    def discard(self, row: UploadRow) -> None:
        """Delete the file of an upload whose row is gone. What can't be deleted now goes with the next sweep."""
        try:
            self.path(row).unlink(missing_ok=True)
        except OSError as cause:
            log.warning("the file of the upload %s can't be deleted: %s", row.id, cause)

    def sweep(self) -> None:
        """Forget uploads that nobody went on with, and delete files that belong to none; called now and then."""
        with self.store.read() as db:
            last = db.value("SELECT last_time FROM instance")
            expired = [row[0] for row in db.all("SELECT id FROM uploads WHERE updated_at < ?", last - LIFETIME)]
        if expired:
            with self.store.transaction() as tx:
                for upload_id in expired:
                    tx.run("DELETE FROM uploads WHERE id = ? AND updated_at < ?", upload_id, tx.now() - LIFETIME)
                    audit.record(tx, audit.SYSTEM, "upload.expired", "upload", upload_id)
        files = list(self.folder.uploads.iterdir())
        with self.store.read() as db:
            # the files first: the row of an upload is there before its file is
            known = {row[0] for row in db.all("SELECT id FROM uploads")}
        for path in files:
            if path.name not in known:
                path.unlink(missing_ok=True)

    def _check(self, row: UploadRow, offset: int, part: bytes) -> None:
        if offset != row.offset:
            raise Conflict(
                f"The upload goes on at {row.offset}, not at {offset}.",
                constraint="offset",
                details={"offset": row.offset},
                headers={"Upload-Offset": str(row.offset)},
            )
        if not part:
            raise ValidationError("The part is empty.", constraint="min_length")
        if row.offset + len(part) > row.size:
            raise ValidationError(
                f"The part goes {row.offset + len(part) - row.size} bytes beyond the file's size.", constraint="size"
            )

    def _write(self, row: UploadRow, part: bytes) -> None:
        path = self.path(row)
        try:
            if row.offset and (not path.exists() or path.stat().st_size < row.offset):
                raise Conflict("The beginning of the upload is lost: delete it and begin anew.", constraint="lost")
            is_new = not path.exists()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.seek(row.offset)
                file.write(part)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                flush_to_disk(self.folder.uploads)
        except OSError as cause:
            raise ServiceUnavailable(
                "The part can't be written to the data folder; the upload stands where it stood.", retry_after=60
            ) from cause

    def _digest(self, row: UploadRow) -> str:
        digest = hashlib.sha256()
        with self.path(row).open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def _move(self, caller: Caller, row: UploadRow, offset: int, action: str) -> UploadRow:
        with self.store.transaction() as tx:
            tx.run(
                "UPDATE uploads SET received_bytes = ?, updated_at = ? WHERE user_id = ? AND id = ?",
                *(offset, tx.now(), caller.user_id, row.id),
            )
            if action:
                details: dict[str, Any] = {"size": row.size, "sha256": row.sha256}
                audit.record(tx, caller.actor, action, "upload", row.id, details=details)
            return find(tx, caller, row.id)
