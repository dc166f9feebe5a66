"""A look at a folder: what came, changed and went in it comes, changes and goes in its knowledge base.

A file that looks the same (size and time) at two looks is whole and is taken; one that is missing at two is gone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.knowledge import documents
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import DocumentError, NewFile
from secureai_appliance.knowledge.following import folders
from secureai_appliance.knowledge.following.walking import Found, Walk, filename
from secureai_appliance.store import Reader, Store, Transaction

log = logging.getLogger(__name__)

_PIECE = 1024 * 1024
_TOGETHER = 200
_SEEN, _TAKEN, _REFUSED = "seen", "taken", "refused"
_COLUMNS = "path, size_bytes, modified_ns, state, missing, sha256, document_id, made, error_code"


@dataclass
class _Known:
    """A row of `folder_files`."""

    path: str
    size: int
    modified: int
    state: str
    missing: int
    sha256: str | None
    document_id: str | None
    made: bool
    error: str | None


@dataclass(frozen=True)
class Tools:
    """What a look needs. `data` is the appliance's own folder, `arrived` is called when there is something to read."""

    store: Store
    configs: Configs
    data: Path
    arrived: Callable[[], None]


class Look:
    """One look at one folder. `run` pauses after each small piece of work."""

    def __init__(self, tools: Tools, base_id: str) -> None:
        self._store = tools.store
        self._configs = tools.configs
        self._data = tools.data
        self._arrived = tools.arrived
        self._base_id = base_id
        self._met: set[str] = set()
        with self._store.read() as db:
            row = db.one("SELECT path, device FROM knowledge_folders WHERE base_id = ?", base_id)
            self._path, self._device = row or ("", None)
            rows = db.all(f"SELECT {_COLUMNS} FROM folder_files WHERE base_id = ?", base_id)  # noqa: S608 (constant)
        self._known = {row[0]: _Known(*row) for row in rows}

    def run(self) -> Iterator[None]:
        """The look. Raises ServiceUnavailable when the store does."""
        reason = folders.refusal(self._path, folders.Allowed(self._configs.value(folders.ROOTS), self._data))
        if reason is not None:
            self.tell(reason)
            return
        walk = Walk(self._path)
        changed: list[Found] = []
        for found in walk.files():
            self._met.add(found.path)
            known = self._known.get(found.path)
            if known is None or (known.size, known.modified) != (found.size, found.modified):
                changed.append(found)
                if len(changed) >= _TOGETHER:
                    self._note(changed)
            elif known.state != _TAKEN:
                yield from self._take(found, known)
            elif known.missing:
                self._set_missing(known, 0)
            yield
        if not walk.device:
            self.tell(DocumentError(code="missing", message="The folder is not there, or can't be looked into."))
            return
        self._note(changed)
        if self._known and not self._met and walk.device != self._device:
            message = "The folder is empty, and on another file system than before: it seems not to be mounted."
            self.tell(DocumentError(code="unmounted", message=message))
            return
        yield from self._gone(walk)
        self.tell(None, walk.device)

    # taking

    def _take(self, found: Found, known: _Known) -> Iterator[None]:
        """Make a document of a whole file, or another one of the document that it was."""
        most = self._configs.value("uploads.max_document_bytes")
        if found.size > most:
            self._refuse(known, "too_large", f"The file has {found.size} bytes; a document may have {most}.")
            return
        blob = None
        try:
            with found.open() as file:
                digest = yield from _digest(file)
                if not found.is_still(file):
                    return  # written to meanwhile: the next look sees another file
                if not self._has(digest):
                    blob = BlobWriter(self._store)
                    file.seek(0)
                    yield from _copy(file, blob)
        except FileNotFoundError:
            return
        except OSError as cause:
            if blob is not None:
                blob.discard()
            self._refuse(known, "unreadable", f"The file can't be read: {cause.strerror}.")
            return
        if blob is not None and blob.sha256 != digest:
            blob.discard()
            return
        with self._store.transaction() as tx:
            self._enter(tx, found, known, digest, blob)
        self._arrived()

    def _enter(self, tx: Transaction, found: Found, known: _Known, digest: str, blob: BlobWriter | None) -> None:
        """The document, what was there before it, and the file's row: one transaction."""
        owner = tx.value(
            "SELECT owner_id FROM knowledge_bases WHERE id = (SELECT base_id FROM knowledge_folders"
            " WHERE base_id = ? AND path = ?)",
            *(self._base_id, self._path),
        )
        there = tx.value("SELECT id FROM documents WHERE base_id = ? AND sha256 = ?", self._base_id, digest)
        if owner is None or (there is None and blob is None):
            return  # given up, or deleted, meanwhile
        before, made = known.document_id if known.made else None, True
        alone = before is not None and not self._is_shared(tx, before, known.path)
        if there is not None:
            made = before == there or self._is_shared(tx, there, known.path)
            document_id = str(there)
        else:
            assert blob is not None
            file = NewFile(documents.plain_name(filename(found.path)), "", blob)
            if before is not None and alone:
                documents.replace(tx, self._base_id, before, file, owner)
                document_id = before
            else:
                document_id = documents.put(tx, self._base_id, file, owner)
            action = "document.replaced" if document_id == before else "document.uploaded"
            details: audit.Details = {
                "knowledge_base_id": self._base_id,
                "size_bytes": blob.size,
                "sha256": digest,
                "folder_path": found.path,
            }
            audit.record(tx, SYSTEM, action, "document", document_id, details=details)
        tx.run(
            "UPDATE folder_files SET state = ?, missing = 0, sha256 = ?, document_id = ?, made = ?, error_code = NULL,"
            " error_message = NULL WHERE base_id = ? AND path = ?",
            *(_TAKEN, digest, document_id, made, self._base_id, known.path),
        )
        if before is not None and alone and before != document_id:
            documents.drop(tx, self._base_id, before)

    def _is_shared(self, tx: Transaction, document_id: str, path: str) -> bool:
        """Whether another file of the folder has made the same document."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM folder_files WHERE document_id = ? AND made AND base_id = ? AND path <> ?)"
        )
        return bool(tx.value(query, document_id, self._base_id, path))

    def _has(self, digest: str) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM documents WHERE base_id = ? AND sha256 = ?)"
        with self._store.read() as db:
            return bool(db.value(query, self._base_id, digest))

    # what is noted

    def _note(self, changed: list[Found]) -> None:
        """Files that are new or not as they were: they have to stay so until the next look."""
        if not changed:
            return
        with self._store.transaction() as tx:
            if self._is_given_up(tx):
                return
            for found in changed:
                tx.run(
                    "INSERT INTO folder_files (base_id, path, size_bytes, modified_ns, state, created_at)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (base_id, path) DO UPDATE SET"
                    " size_bytes = excluded.size_bytes, modified_ns = excluded.modified_ns, state = excluded.state,"
                    " missing = 0, error_code = NULL, error_message = NULL",
                    *(self._base_id, found.path, found.size, found.modified, _SEEN, tx.now()),
                )
        changed.clear()

    def _refuse(self, known: _Known, code: str, message: str) -> None:
        """Say once what is wrong with a file."""
        if known.error == code:
            return
        with self._store.transaction() as tx:
            if self._is_given_up(tx):
                return
            log.warning("%s in the folder %s is left out: %s", known.path, self._path, message)
            tx.run(
                "UPDATE folder_files SET state = ?, error_code = ?, error_message = ? WHERE base_id = ? AND path = ?",
                *(_REFUSED, code, message, self._base_id, known.path),
            )
            details: audit.Details = {"path": known.path, "code": code}
            audit.record(
                *(tx, SYSTEM, "knowledge.file_refused", "knowledge_base", self._base_id),
                details=details,
                outcome="failure",
            )

    def _gone(self, walk: Walk) -> Iterator[None]:
        """Files that were not met: at the second look in a row their documents go."""
        for known in self._known.values():
            if known.path in self._met or not walk.knows(known.path):
                continue
            if not known.missing:
                self._set_missing(known, 1)
            else:
                with self._store.transaction() as tx:
                    self._forget(tx, known)
            yield

    def _forget(self, tx: Transaction, known: _Known) -> None:
        if self._is_given_up(tx):
            return
        tx.run("DELETE FROM folder_files WHERE base_id = ? AND path = ?", self._base_id, known.path)
        if not known.made or known.document_id is None:
            return
        other = tx.value(
            "SELECT path FROM folder_files WHERE document_id = ? AND made AND base_id = ? LIMIT 1",
            *(known.document_id, self._base_id),
        )
        if other is None:
            documents.drop(tx, self._base_id, known.document_id)
        else:
            # it has another name now, by which it is to be found
            documents.rename(tx, self._base_id, known.document_id, documents.plain_name(filename(other)))
            tx.after_commit(self._arrived)

    def is_wanted(self) -> bool:
        """Whether the base still has this folder. From any thread."""
        with self._store.read() as db:
            return not self._is_given_up(db)

    def _is_given_up(self, db: Reader) -> bool:
        """Whether the base has another folder by now, or none."""
        query = "SELECT EXISTS (SELECT 1 FROM knowledge_folders WHERE base_id = ? AND path = ?)"
        return not db.value(query, self._base_id, self._path)

    def _set_missing(self, known: _Known, missing: int) -> None:
        with self._store.transaction() as tx:
            if self._is_given_up(tx):
                return
            tx.run(
                "UPDATE folder_files SET missing = ? WHERE base_id = ? AND path = ?",
                *(missing, self._base_id, known.path),
            )

    def tell(self, problem: DocumentError | None, device: str | None = None) -> None:
        """Note what is wrong with the folder, and say it when it was not so before. From any thread."""
        code = None if problem is None else problem.code
        kept = device if device is not None and self._met else self._device
        with self._store.read() as db:
            query = "SELECT problem_code, device FROM knowledge_folders WHERE base_id = ? AND path = ?"
            before = db.one(query, self._base_id, self._path)
        if before is None or before == (code, kept):
            return
        with self._store.transaction() as tx:
            tx.run(
                "UPDATE knowledge_folders SET problem_code = ?, problem_message = ?, device = ?, updated_at = ?"
                " WHERE base_id = ? AND path = ?",
                *(code, None if problem is None else problem.message, kept, tx.now(), self._base_id, self._path),
            )
            if problem is not None and code != before[0]:
                log.warning("the folder %s is not followed: %s", self._path, problem.message)
                details: audit.Details = {"path": self._path, "code": problem.code}
                audit.record(
                    *(tx, SYSTEM, "knowledge.folder_failed", "knowledge_base", self._base_id),
                    details=details,
                    outcome="failure",
                )


def _digest(file: IO[bytes]) -> Generator[None, None, str]:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
        yield
    return digest.hexdigest()


def _copy(file: IO[bytes], blob: BlobWriter) -> Iterator[None]:
    while piece := file.read(_PIECE):
        blob.write(piece)
        yield
