"""Chunks: the passages of a document that can be found."""

from __future__ import annotations

import msgspec

from secureai_appliance.knowledge import indexes
from secureai_appliance.knowledge.documents import Document
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, list_page


class Chunk(msgspec.Struct, kw_only=True):
    """A passage: characters `start` to `end` of the document's text, on `page`, under `heading`."""

    id: str
    document_id: str
    position: int
    start: int
    end: int
    page: int | None
    heading: str
    text: str


_SPEC: ListSpec[Chunk] = ListSpec(
    columns='chunks.id, document_id, position, start, "end", page, heading, text',
    source="chunks JOIN documents ON documents.id = chunks.document_id",
    row_id="chunks.row_id",
    created_at="documents.indexed_at",
    sortable={"position": "position"},
    default_sort="position",
    search=("text",),
    read=lambda row: Chunk(
        id=row[0],
        document_id=row[1],
        position=row[2],
        start=row[3],
        end=row[4],
        page=row[5],
        heading=row[6],
        text=row[7],
    ),
)


def list_(db: Reader, document: Document, query: ListQuery) -> Page[Chunk]:
    """What can be found of a document, in its order."""
    now = indexes.active(db, document.knowledge_base_id)
    return list_page(db, _SPEC, query, where="index_id = ? AND document_id = ?", params=(now.row_id, document.id))
