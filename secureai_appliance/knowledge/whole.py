"""Documents as a whole: their passages in order, for questions that no single passage answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.knowledge.bases import BASES
from secureai_appliance.knowledge.search import Ranks, Result
from secureai_appliance.store import Reader

MOST_NAMES = 2000
MOST_PASSAGES = 2000


class Named(msgspec.Struct, kw_only=True):
    """A document that can be read, and what its user calls it."""

    id: str
    filename: str


def named(db: Reader, caller: Caller, base_ids: Sequence[str], document_ids: Sequence[str] | None) -> list[Named]:
    """The newest documents of these bases that can be found, at most `MOST_NAMES`; of those named where some are."""
    where, params = sharing.visible_to(caller, BASES)
    rows = db.all(
        "SELECT id, filename FROM documents WHERE base_id IN (SELECT value FROM json_each(?))"  # noqa: S608 (constants)
        f" AND base_id IN (SELECT id FROM knowledge_bases WHERE {where}) AND chunk_count > 0"
        " AND (? IS NULL OR id IN (SELECT value FROM json_each(?))) ORDER BY row_id DESC LIMIT ?",
        *(_json(base_ids), *params, *(None if document_ids is None else _json(document_ids),) * 2, MOST_NAMES),
    )
    return [Named(id=document_id, filename=filename) for document_id, filename in rows]


def passages(db: Reader, caller: Caller, document_ids: Sequence[str], *, beginnings: bool = False) -> list[Result]:
    """The passages of these documents, in order, at most `MOST_PASSAGES`; with `beginnings` only the first of each."""
    where, params = sharing.visible_to(caller, BASES)
    rows = db.all(
        'SELECT chunks.id, documents.id, documents.base_id, filename, page, heading, start, "end", text'  # noqa: S608
        " FROM json_each(?) AS wanted JOIN documents ON documents.id = wanted.value"
        " JOIN knowledge_indexes ON knowledge_indexes.base_id = documents.base_id AND state = 'active'"
        " JOIN chunks ON chunks.index_id = knowledge_indexes.row_id AND chunks.document_id = documents.id"
        f" WHERE documents.base_id IN (SELECT id FROM knowledge_bases WHERE {where}) AND (? = 0 OR position = 0)"
        " ORDER BY wanted.key, position LIMIT ?",
        *(_json(document_ids), *params, beginnings, MOST_PASSAGES),
    )
    return [
        Result(
            chunk_id=chunk_id,
            document_id=document_id,
            knowledge_base_id=base_id,
            filename=filename,
            page=page,
            heading=heading,
            start=start,
            end=end,
            text=text,
            score=0.0,
            similarity=None,
            relevance=None,
            ranks=Ranks(vector=None, keyword=None),
        )
        for chunk_id, document_id, base_id, filename, page, heading, start, end, text in rows
    ]


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
