"""A whole knowledge base as a zip file: the originals, and what is known of them as JSON.

    documents/000001-manual.pdf   an original, stored as it is
    documents.jsonl               a line for each: its name, checksum and the path of its original
    base.json                     how the base is called, cut and embedded; the last entry

What is made from the originals (chunks, vectors) is not in it: the appliance that reads it makes that anew. Neither are
passwords of encrypted files, nor with whom the base is shared.
"""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Iterator
from itertools import count
from pathlib import PurePath
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secureai_appliance import __version__
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict
from secureai_appliance.knowledge import blobs
from secureai_appliance.knowledge.bases import KnowledgeBase
from secureai_appliance.knowledge.indexes import Chunking
from secureai_appliance.store import Store

TYPE = "application/zip"
BASE, DOCUMENTS = "base.json", "documents.jsonl"
_AT_ONCE = 200
_LONGEST_NAME = 100


class ArchivedBase(msgspec.Struct, kw_only=True):
    """`base.json`."""

    format: Literal["secureai-knowledge-1"] = "secureai-knowledge-1"
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    slug: str
    description: str
    embedding_model: str
    chunking: Chunking
    document_count: int
    exported_at: str
    version: str


class ArchivedDocument(msgspec.Struct, kw_only=True):
    """A line of `documents.jsonl`. From `folder_path` on it is for readers: an import finds it out anew.

    But a document that was cancelled (`status`) stays so.
    """

    path: str
    filename: Annotated[str, Meta(min_length=1, max_length=255)]
    content_type: Annotated[str, Meta(max_length=200)]
    size_bytes: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\s)$")]
    folder_path: str | None = None
    """Where it lies in the folder that the base follows."""
    status: str = ""
    error_code: str | None = None
    page_count: int | None = None
    metadata: dict[str, str] = {}
    created_at: str = ""


def pieces(store: Store, base: KnowledgeBase, now: float) -> Iterator[bytes]:
    """The file, while it is made: one piece of an original is in memory, and no reader is held between two.

    It has the documents that the base has now and that are not deleted until it is their turn. Raises Conflict in the
    middle, which cuts the file off, for one that goes while it is read.
    """
    out = _Out()
    lines: list[bytes] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for number, (blob_id, document) in zip(count(1), _documents(store, base.id), strict=False):
            document.path = f"documents/{number:06d}-{_plain(document.filename)}"
            yield from _original(archive, out, store, blob_id, document)
            lines.append(msgspec.json.encode(document) + b"\n")
        archive.writestr(_entry(DOCUMENTS, now), b"".join(lines))
        described = ArchivedBase(
            name=base.name,
            slug=base.slug,
            description=base.description,
            embedding_model=base.embedding_model,
            chunking=base.chunking,
            document_count=len(lines),
            exported_at=rfc3339(now),
            version=__version__,
        )
        archive.writestr(_entry(BASE, now), msgspec.json.format(msgspec.json.encode(described)))
    yield out.taken()


def _original(
    archive: zipfile.ZipFile, out: _Out, store: Store, blob_id: int, document: ArchivedDocument
) -> Iterator[bytes]:
    entry = _entry(document.path, 0)
    entry.file_size = document.size_bytes
    written = 0
    with archive.open(entry, "w") as file:
        for piece in blobs.pieces(store, blob_id):
            written += len(piece)
            file.write(piece)
            yield out.taken()
    if written != document.size_bytes:
        raise Conflict(f"'{document.filename}' was deleted while the knowledge base was exported.")


def _documents(store: Store, base_id: str) -> Iterator[tuple[int, ArchivedDocument]]:
    """Those there are now, read some at a time."""
    with store.read() as db:
        last = db.value("SELECT COALESCE(MAX(row_id), 0) FROM documents WHERE base_id = ?", base_id)
    row_id = 0
    while True:
        with store.read() as db:
            rows = db.all(
                "SELECT row_id, blob_id, filename, content_type, size_bytes, sha256, status, error_code, page_count,"
                " metadata, created_at, (SELECT path FROM folder_files WHERE document_id = documents.id LIMIT 1)"
                " FROM documents WHERE base_id = ? AND row_id > ? AND row_id <= ?"
                " ORDER BY row_id LIMIT ?",
                *(base_id, row_id, last, _AT_ONCE),
            )
        for row in rows:
            row_id = row[0]
            with store.read() as db:
                if not db.value("SELECT EXISTS (SELECT 1 FROM documents WHERE row_id = ?)", row_id):
                    continue
            yield (
                row[1],
                ArchivedDocument(
                    path="",
                    filename=row[2],
                    content_type=row[3],
                    size_bytes=row[4],
                    sha256=row[5],
                    folder_path=row[11],
                    status=row[6],
                    error_code=row[7],
                    page_count=row[8],
                    metadata=msgspec.json.decode(row[9], type=dict[str, str]),
                    created_at=rfc3339(row[10]),
                ),
            )
        if len(rows) < _AT_ONCE:
            return


def _entry(path: str, now: float) -> zipfile.ZipInfo:
    # the oldest time that the format knows: the same base gives the same originals
    entry = zipfile.ZipInfo(path, time.gmtime(now)[:6] if now else (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o600 << 16
    return entry


def _plain(filename: str) -> str:
    """A name that every system can unpack, its ending kept."""
    name = PurePath(re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", filename)).name.strip(". ") or "document"
    ending = PurePath(name).suffix[:20]
    return name[: _LONGEST_NAME - len(ending)].removesuffix(ending) + ending


class _Out(io.RawIOBase):
    """What was written and not sent yet. It can't be sought in, so that zipfile never goes back."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self._written += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        piece = bytes(self._written)
        self._written.clear()
        return piece
