"""Documents of a knowledge base: what was uploaded, and how far it is on its way into the index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import Access
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import audit, events
from secureai_appliance.governance.events import DocumentUploaded
from secureai_appliance.knowledge import bases, index, indexes
from secureai_appliance.knowledge.bases import BASES
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

Status = Literal["queued", "extracting", "embedding", "indexed", "failed", "cancelled"]
MOST_FILES = 100
MOST_DEPTH = 5
"""Files in files: an e-mail that is attached to one that is attached to one."""
_LONGEST_NAME = 255
_LONGEST_TYPE = 200
_UNFINISHED = ("queued", "extracting", "embedding")


class DocumentError(msgspec.Struct, kw_only=True):
    """Why a document could not be read."""

    code: str
    message: str


class Document(msgspec.Struct, kw_only=True):
    """A document. `progress` goes from 0 to 1; `metadata` is what the file says of itself, and a `note` of ours.

    `page_count` is null while unknown, and for formats without pages.
    """

    id: str
    knowledge_base_id: str
    filename: str
    content_type: str
    size_bytes: int
    sha256: str
    status: Status
    progress: float
    page_count: int | None
    chunk_count: int
    error: DocumentError | None
    metadata: dict[str, str]
    indexed_at: str | None
    created_at: str
    updated_at: str

    def weight(self) -> Document:
        """Without how far it is on its way."""
        status: Status = "queued" if self.status in _UNFINISHED else self.status
        return msgspec.structs.replace(self, status=status, progress=0)


class Uploaded(Document, kw_only=True):
    """The first of the documents that were uploaded, and all of them in `documents`."""

    documents: list[Document]


class DocumentQuery(ListQuery, kw_only=True):
    """`status` keeps documents of one; `knowledge_base_id` those of one base."""

    status: Status | None = None
    knowledge_base_id: Annotated[str, Meta(max_length=100)] | None = None


@dataclass(frozen=True)
class NewFile:
    """A file that has arrived. `name` is what its user calls it."""

    name: str
    content_type: str
    blob: BlobWriter


_COLUMNS = (
    "documents.id, base_id, filename, content_type, size_bytes, sha256, status, progress, page_count, chunk_count,"
    " error_code, error_message, metadata, indexed_at, documents.created_at, documents.updated_at"
)


def _shown(row: tuple[Any, ...]) -> Document:
    return Document(
        id=row[0],
        knowledge_base_id=row[1],
        filename=row[2],
        content_type=row[3],
        size_bytes=row[4],
        sha256=row[5],
        status=row[6],
        progress=row[7],
        page_count=row[8],
        chunk_count=row[9],
        error=None if row[10] is None else DocumentError(code=row[10], message=row[11]),
        metadata=msgspec.json.decode(row[12]),
        indexed_at=None if row[13] is None else rfc3339(row[13]),
        created_at=rfc3339(row[14]),
        updated_at=rfc3339(row[15]),
    )


_SPEC: ListSpec[Document] = ListSpec(
    columns=_COLUMNS,
    source="documents",
    sortable={
        "created_at": "documents.created_at",
        "filename": "filename",
        "size_bytes": "size_bytes",
        "status": "status",
    },
    search=("filename",),
    read=_shown,
)


def add(
    tx: Transaction, caller: Caller, base_id: str, files: Sequence[NewFile], *, sealer: Sealer, password: str | None
) -> list[Document]:
    """Make documents of files that have arrived, all or none, and have them indexed. `password` opens them.

    Raises NotFound, PermissionDenied, ValidationError without a file, Conflict when the same bytes are in the base.
    """
    base_id = bases.find(tx, caller, base_id, "write")
    if not files:
        raise ValidationError("Send at least one 'file'.", field="file", constraint="required")

    def sealed(document_id: str) -> bytes | None:
        return sealer.seal(password.encode(), _context(document_id)) if password else None

    return [_add(tx, caller, base_id, file, sealed) for file in files]


def _add(
    tx: Transaction, caller: Caller, base_id: str, file: NewFile, sealed: Callable[[str], bytes | None]
) -> Document:
    refuse_known(tx, base_id, file.blob.sha256)
    document_id = _insert(tx, base_id, file, sealed)
    details: audit.Details = {
        "knowledge_base_id": base_id,
        "size_bytes": file.blob.size,
        "sha256": file.blob.sha256,
    }
    audit.record(tx, caller.actor, "document.uploaded", "document", document_id, details=details)
    _tell(tx, base_id, document_id, file, caller.user_id)
    return get(tx, caller, document_id)


def refuse_known(db: Reader, base_id: str, sha256: str) -> None:
    """Raise Conflict when the base has a document of these bytes."""
    there = db.value("SELECT id FROM documents WHERE base_id = ? AND sha256 = ?", base_id, sha256)
    if there is not None:
        raise Conflict(
            f"The same bytes are in this knowledge base already: {there}.",
            field="file",
            constraint="unique",
            details={"id": there},
        )


def put(tx: Transaction, base_id: str, file: NewFile, user_id: str) -> str:
    """Make a document of a file that its base has not, and have it indexed; its id.

    Whoever calls it has looked after access and the audit log.
    """
    document_id = _insert(tx, base_id, file, lambda _: None)
    _tell(tx, base_id, document_id, file, user_id)
    return document_id


def put_back(tx: Transaction, base_id: str, files: Sequence[tuple[NewFile, bool]], user_id: str) -> None:
    """The same with all files of a new base, each with whether it is to be indexed."""
    for file, waits in files:
        document_id = _insert(tx, base_id, file, lambda _: None, status="queued" if waits else "cancelled")
        _tell(tx, base_id, document_id, file, user_id)
    indexes.enqueue_all(tx, base_id)


def replace(tx: Transaction, base_id: str, document_id: str, file: NewFile, user_id: str) -> None:
    """Give a document other bytes and have it indexed anew; what can be found of it now stays until then."""
    tx.run(
        "UPDATE documents SET filename = ?, content_type = ?, size_bytes = ?, sha256 = ?, blob_id = ?, password = NULL,"
        " status = 'queued', progress = 0, error_code = NULL, error_message = NULL, updated_at = ?"
        " WHERE base_id = ? AND id = ?",
        *(file.name, file.content_type, file.blob.size, file.blob.sha256, file.blob.finish(tx), tx.now()),
        *(base_id, document_id),
    )
    indexes.enqueue(tx, base_id, document_id)
    _tell(tx, base_id, document_id, file, user_id)


def rename(tx: Transaction, base_id: str, document_id: str, filename: str) -> None:
    """Call a document otherwise, and have it indexed anew: it is found by its name, too."""
    tx.run(
        "UPDATE documents SET filename = ?, status = 'queued', progress = 0, updated_at = ?"
        " WHERE base_id = ? AND id = ? AND filename <> ?",
        *(filename, tx.now(), base_id, document_id, filename),
    )
    if tx.value("SELECT changes()"):
        indexes.enqueue(tx, base_id, document_id)
        details: audit.Details = {"knowledge_base_id": base_id}
        audit.record(tx, audit.SYSTEM, "document.renamed", "document", document_id, details=details)


def attach(tx: Transaction, base_id: str, file: NewFile, outer_id: str) -> None:
    """Make a document of a file that was inside another, unless its bytes are in the base.

    Files in files in files end at a depth: each of them is stored once for every file that it is in.
    """
    if tx.value("SELECT EXISTS (SELECT 1 FROM documents WHERE base_id = ? AND sha256 = ?)", base_id, file.blob.sha256):
        return
    depth = tx.value("SELECT attached_depth + 1 FROM documents WHERE base_id = ? AND id = ?", base_id, outer_id)
    if depth > MOST_DEPTH:
        details: audit.Details = {"knowledge_base_id": base_id, "code": "too_deep"}
        audit.record(tx, audit.SYSTEM, "document.left_out", "document", outer_id, details=details, outcome="failure")
        return
    file = NewFile(plain_name(file.name), plain_type(file.content_type), file.blob)
    document_id = _insert(tx, base_id, file, lambda _: None)
    tx.run("UPDATE documents SET attached_depth = ? WHERE id = ?", depth, document_id)
    details = {"knowledge_base_id": base_id, "size_bytes": file.blob.size}
    audit.record(tx, audit.SYSTEM, "document.attached", "document", document_id, details=details)
    owner = tx.value("SELECT owner_id FROM knowledge_bases WHERE id = ?", base_id)
    _tell(tx, base_id, document_id, file, owner)


def plain_name(name: str) -> str:
    """A file's name without the folders of another machine and without control characters."""
    plain = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter for letter in plain if letter.isprintable())[-_LONGEST_NAME:] or "document"


def plain_type(content_type: str) -> str:
    """A content type without its parameters: `text/plain`. Empty when it is none."""
    plain = content_type[:_LONGEST_TYPE].partition(";")[0].strip().lower()
    return plain if plain.isascii() and plain.isprintable() else ""


def _insert(
    tx: Transaction,
    base_id: str,
    file: NewFile,
    sealed: Callable[[str], bytes | None],
    *,
    status: Status | None = None,
) -> str:
    """The row; with a `status` it is left to the caller to have it indexed."""
    document_id, now = new_id("doc"), tx.now()
    tx.run(
        "INSERT INTO documents (id, base_id, filename, content_type, size_bytes, sha256, blob_id, password, status,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(document_id, base_id, file.name, file.content_type, file.blob.size, file.blob.sha256),
        *(file.blob.finish(tx), sealed(document_id), status or "queued", now, now),
    )
    if status is None:
        indexes.enqueue(tx, base_id, document_id)
    return document_id


def _tell(tx: Transaction, base_id: str, document_id: str, file: NewFile, user_id: str) -> None:
    events.emit(
        tx,
        DocumentUploaded(
            document_id=document_id,
            knowledge_base_id=base_id,
            filename=file.name,
            size_bytes=file.blob.size,
            user_id=user_id,
        ),
    )


def list_(db: Reader, caller: Caller, query: DocumentQuery) -> Page[Document]:
    """The documents of one base, or of all that the caller may read. Raises NotFound for another's base."""
    where, params = _visible(caller)
    if query.knowledge_base_id is not None:
        where, params = f"{where} AND base_id = ?", (*params, bases.find(db, caller, query.knowledge_base_id))
    if query.status is not None:
        where, params = f"{where} AND status = ?", (*params, query.status)
    return list_page(db, _SPEC, query, where=where, params=params)


def get(db: Reader, caller: Caller, document_id: str, base_id: str | None = None, access: Access = "read") -> Document:
    """One document, of this base where one is named.

    Raises NotFound, PermissionDenied for `access` "write" where the base is shared for reading.
    """
    where, params = _visible(caller)
    row = db.one(
        f"SELECT {_COLUMNS} FROM documents WHERE {where} AND documents.id = ?",  # noqa: S608 (constants of the rooms)
        *(*params, document_id),
    )
    if row is None or (base_id is not None and bases.find(db, caller, base_id) != row[1]):
        raise NotFound("There is no such document.")
    if access == "write":
        bases.find(db, caller, row[1], "write")
    return _shown(row)


def readable(db: Reader, caller: Caller, document_ids: Collection[str]) -> set[str]:
    """Those of these documents that are there and that the caller may read."""
    if not document_ids or not caller.may("knowledge:read"):
        return set()
    where, params = _visible(caller)
    rows = db.all(
        f"SELECT id FROM documents WHERE id IN (SELECT value FROM json_each(?)) AND {where}",  # noqa: S608 (constants)
        *(msgspec.json.encode(list(document_ids)).decode(), *params),
    )
    return {document_id for (document_id,) in rows}


def blob(db: Reader, document_id: str) -> int:
    """The number of a document's blob, for who has got the document."""
    number: int = db.value("SELECT blob_id FROM documents WHERE id = ?", document_id)
    return number


def delete(tx: Transaction, caller: Caller, document: Document) -> None:
    """Take a document away, its chunks and its place in the queue with it; its bytes go with the next sweep."""
    drop(tx, document.knowledge_base_id, document.id, caller.actor)


def drop(tx: Transaction, base_id: str, document_id: str, actor: audit.Actor = audit.SYSTEM) -> None:
    """The same for who has looked after access."""
    index.forget(tx, document_id, base_id)
    tx.run("DELETE FROM documents WHERE base_id = ? AND id = ?", base_id, document_id)
    indexes.settle(tx, base_id)
    details: audit.Details = {"knowledge_base_id": base_id}
    audit.record(tx, actor, "document.deleted", "document", document_id, details=details)


def reindex(tx: Transaction, caller: Caller, document: Document) -> Document:
    """Have a document read again; what can be found of it now stays until then."""
    tx.run(
        "UPDATE documents SET status = 'queued', progress = 0, error_code = NULL, error_message = NULL,"
        " updated_at = ? WHERE id = ?",
        *(tx.now(), document.id),
    )
    indexes.enqueue(tx, document.knowledge_base_id, document.id)
    details = {"knowledge_base_id": document.knowledge_base_id}
    audit.record(tx, caller.actor, "document.reindexed", "document", document.id, details=details)
    return get(tx, caller, document.id)


def cancel(tx: Transaction, caller: Caller, document: Document) -> Document:
    """Stop reading a document. Raises Conflict when that is over."""
    if document.status not in _UNFINISHED:
        raise Conflict(f"The document is {document.status}.", constraint="status")
    tx.run("DELETE FROM ingest_jobs WHERE document_id = ?", document.id)
    tx.run("UPDATE documents SET status = 'cancelled', updated_at = ? WHERE id = ?", tx.now(), document.id)
    indexes.settle(tx, document.knowledge_base_id)
    details = {"knowledge_base_id": document.knowledge_base_id}
    audit.record(tx, caller.actor, "document.cancelled", "document", document.id, details=details)
    return get(tx, caller, document.id)


def password_of(sealer: Sealer, document_id: str, sealed: bytes | None) -> str | None:
    """The password that was given with a document."""
    return None if sealed is None else sealer.open(sealed, _context(document_id)).decode()


def _context(document_id: str) -> str:
    return f"documents.password.{document_id}"


def _visible(caller: Caller) -> tuple[str, tuple[Any, ...]]:
    where, params = sharing.visible_to(caller, BASES)
    return f"base_id IN (SELECT id FROM knowledge_bases WHERE {where})", params  # noqa: S608 (constants of the rooms)
