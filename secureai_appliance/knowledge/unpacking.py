"""An exported knowledge base comes back: checked whole, stored in pieces, and there all at once or not at all."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.shelf import slug_of
from secureai_appliance.core.errors import ServiceUnavailable, UnprocessableEntity
from secureai_appliance.governance import audit
from secureai_appliance.knowledge import bases, blobs, documents
from secureai_appliance.knowledge.archive import BASE, DOCUMENTS, ArchivedBase, ArchivedDocument
from secureai_appliance.knowledge.arrivals import too_large
from secureai_appliance.knowledge.bases import BASES, KnowledgeBase, KnowledgeCreate
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.store import Reader, Store, Transaction

MOST_DOCUMENTS = 50_000
_MOST_JSON = 256 * 1024 * 1024
_ENCRYPTED = 0x1
_MOST_DIRECTORY = 24 * 1024 * 1024
_PIECE = 1024 * 1024
_TOGETHER_BYTES = 4 * 1024 * 1024
_END = struct.Struct("<4s4xHHII2x")
_LOCATOR_BYTES = 20
_END_64 = struct.Struct("<4s28xQQ8x")
T = TypeVar("T")


class Naming(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the new base is called, and what it is embedded with, where that is to differ from the exported one."""

    name: bases.Name | None = None
    slug: bases.Slug | None = None
    embedding_model: str | None = None


class Abandoned(Exception):
    """Nobody waits for the import any more; nothing was changed."""


@dataclass(frozen=True)
class Unpacking:
    """An import. `most_bytes` bounds a document; `taken` is called in the transaction that makes the base."""

    store: Store
    caller: Caller
    naming: Naming
    most_bytes: int
    taken: Callable[[Transaction], None] = lambda tx: None
    abandoned: Callable[[], bool] = lambda: False

    def run(self, path: Path) -> KnowledgeBase:
        """Make a base of the file; its documents are indexed afterwards.

        1. What the file says of itself is checked, and that name and model can be had. 2. The originals go into the
        store, each compared with its checksum; nobody sees them yet. 3. One transaction makes the base and all of its
        documents. Whatever breaks before leaves nothing but pieces that are swept.

        Raises UnprocessableEntity for a file that is no whole export, Conflict for a name that is taken, NotFound for a
        model that is not here, PayloadTooLarge, ServiceUnavailable, Abandoned.
        """
        try:
            with path.open("rb") as file:
                _check_directory(file)
                with zipfile.ZipFile(file) as archive:
                    return self._unpack(archive, path.stat().st_size)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error) as cause:
            raise _no_export("it can't be unpacked") from cause
        except OSError as cause:
            raise ServiceUnavailable("The file can't be read from the disk.", retry_after=60) from cause

    def _unpack(self, archive: zipfile.ZipFile, size: int) -> KnowledgeBase:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise _no_export("its entries are compressed, which no export's are")
        if any(entry.flag_bits & _ENCRYPTED for entry in entries.values()):
            raise _no_export("its entries are encrypted, which no export's are")
        # stored as they are, and none of them twice: nothing grows by being unpacked
        if sum(entry.file_size for entry in entries.values()) > size:
            raise _no_export("it claims to hold more than it has")
        base = _decoded(_json(archive, entries.get(BASE)), ArchivedBase, BASE)
        lines = _json(archive, entries.get(DOCUMENTS)).removesuffix(b"\n")
        # before each of them becomes an object
        if lines.count(b"\n") >= MOST_DOCUMENTS:
            raise _no_export(f"it lists more than {MOST_DOCUMENTS} documents")
        listed = [_decoded(line, ArchivedDocument, DOCUMENTS) for line in lines.split(b"\n") if line]
        self._check(base, listed, entries)
        body = self._new(base)
        with self.store.read() as db:
            self._refuse(db, body)
        files: list[NewFile] = []
        ends: list[BlobWriter] = []
        try:
            for document in listed:
                # the file may be anybody's: what it says is cleared as what a form says
                name, kind = documents.plain_name(document.filename), documents.plain_type(document.content_type)
                files.append(NewFile(name, kind, BlobWriter(self.store)))
                self._store(archive, document, files[-1].blob)
                ends.append(files[-1].blob)
                # the ends of files share a transaction
                if sum(blob.pending for blob in ends) >= _TOGETHER_BYTES:
                    blobs.flush(self.store, ends)
                    ends.clear()
            blobs.flush(self.store, ends)
            return self._make(body, files, listed)
        except BaseException:
            for file in files:
                file.blob.discard()
            raise

    def _check(
        self, base: ArchivedBase, listed: Sequence[ArchivedDocument], entries: dict[str, zipfile.ZipInfo]
    ) -> None:
        if len(listed) != base.document_count:
            raise _no_export(f"it lists {len(listed)} documents, not {base.document_count}")
        paths = set()
        for document in listed:
            entry = entries.get(document.path)
            if entry is None or entry.file_size != document.size_bytes or document.path in paths:
                raise _no_export(f"the original of '{document.filename[:100]}' is missing")
            if document.size_bytes > self.most_bytes:
                raise too_large(document.size_bytes, self.most_bytes)
            paths.add(document.path)
        if len({document.sha256 for document in listed}) < len(listed):
            raise _no_export("it lists the same original twice")

    def _new(self, base: ArchivedBase) -> KnowledgeCreate:
        name = self.naming.name or base.name
        kept = {
            "name": name,
            # a slug that was made of the old name says nothing of the new one
            "slug": self.naming.slug or (base.slug if name == base.name else slug_of(name, "base")),
            "description": base.description,
            "embedding_model": self.naming.embedding_model or base.embedding_model,
            "chunking": base.chunking,
        }
        try:
            return msgspec.convert(kept, KnowledgeCreate, from_attributes=True)
        except msgspec.ValidationError as cause:
            raise _no_export(f"its {BASE} is not valid ({cause})") from cause

    def _refuse(self, db: Reader, body: KnowledgeCreate) -> None:
        """What would be refused at the end is refused before the long part."""
        for column, value in (("name", body.name), ("slug", body.slug)):
            sharing.refuse_taken(db, BASES, self.caller.user_id, column, str(value), visibility="private")
        bases.usable_model(db, self.caller, str(body.embedding_model), body.chunking)

    def _store(self, archive: zipfile.ZipFile, document: ArchivedDocument, blob: BlobWriter) -> None:
        with archive.open(document.path) as entry:
            while piece := entry.read(_PIECE):
                if self.abandoned():
                    raise Abandoned
                blob.write(piece)
        if (blob.size, blob.sha256) != (document.size_bytes, document.sha256):
            raise _no_export(f"the original of '{document.filename[:100]}' is damaged")

    def _make(
        self, body: KnowledgeCreate, files: Sequence[NewFile], listed: Sequence[ArchivedDocument]
    ) -> KnowledgeBase:
        with self.store.transaction() as tx:
            base = bases.create(tx, self.caller, body, str(body.embedding_model))
            # what its owner has cancelled there is not begun here
            waits = [document.status != "cancelled" for document in listed]
            documents.put_back(tx, base.id, list(zip(files, waits, strict=True)), self.caller.user_id)
            self.taken(tx)
            details: audit.Details = {"documents": len(files), "bytes": sum(file.blob.size for file in files)}
            audit.record(tx, self.caller.actor, "knowledge.imported", "knowledge_base", base.id, details=details)
            return bases.get(tx, self.caller, base.id)


def _check_directory(file: BinaryIO) -> None:
    """Raise UnprocessableEntity before zipfile reads a list of entries that fills the memory."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 65_536 - _END.size))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _no_export("it is no zip file, or its end is missing")
    length = _END.unpack_from(tail, at)[3]
    locator = at - _LOCATOR_BYTES
    if locator >= _END_64.size and tail.startswith(b"PK\x06\x07", locator):
        length = _END_64.unpack_from(tail, locator - _END_64.size)[2]
    if length > _MOST_DIRECTORY:
        raise _no_export("it has too many entries")
    file.seek(0)


def _json(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None) -> bytes:
    if entry is None:
        raise _no_export(f"{BASE} or {DOCUMENTS} is missing")
    if entry.file_size > _MOST_JSON:
        raise _no_export(f"{entry.filename} is too large")
    return archive.read(entry)


def _decoded(data: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise _no_export(f"{name} is not valid ({cause})") from cause


def _no_export(why: str) -> UnprocessableEntity:
    return UnprocessableEntity(
        f"The file is not the whole export of a knowledge base: {why}.", field="file", constraint="format"
    )
