"""Knowledge bases: who may see them, how they are called, how their documents are cut and embedded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import MOST_SHARES, Access, Share, Shareable, Visibility
from secureai_appliance.accounts.shelf import slug_of
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound, PermissionDenied, UnprocessableEntity, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.lines import is_line
from secureai_appliance.governance import audit
from secureai_appliance.knowledge import indexes
from secureai_appliance.knowledge.indexes import Chunking
from secureai_appliance.models import catalogue
from secureai_appliance.models.registry import require_kind
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

BASES = Shareable("knowledge_bases", "knowledge base", ("name", "slug"))
OWNED = (BASES.owned(),)
MOST_SEARCHED = 50
"""Bases that are searched at a time where none is named."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Slug = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,99}(?!\s)$")]
Description = Annotated[str, Meta(max_length=2000)]
Shares = Annotated[list[Share], Meta(max_length=MOST_SHARES)]
Status = Literal["ready", "indexing", "rebuilding"]


class KnowledgeCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new base. Without a `slug` one is made of the name; without a model, `knowledge.embedding_model` counts."""

    name: Name
    slug: Slug | None = None
    description: Description = ""
    visibility: Visibility = "private"
    shares: Shares = []
    embedding_model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    chunking: Chunking = Chunking()


class KnowledgePatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a base; what is left out stays. `shares` and `chunking` are replaced as a whole.

    Another model or chunking has all documents indexed anew, beside what is searched meanwhile.
    """

    name: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    shares: Shares | UnsetType = UNSET
    embedding_model: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    chunking: Chunking | UnsetType = UNSET


class Rebuilding(msgspec.Struct, kw_only=True):
    """What will be searched once all documents are in it."""

    embedding_model: str
    chunking: Chunking


class KnowledgeBase(msgspec.Struct, kw_only=True):
    """A base. `status`: `ready`, `indexing` (documents wait or are at work), `rebuilding` (see `rebuilding`).

    `size_bytes` are those of the files, `chunk_count` is what can be found now. `shares` only for its owner's eyes.
    """

    id: str
    name: str
    slug: str
    description: str
    owner_id: str
    visibility: Visibility
    shares: list[Share] | None
    embedding_model: str
    chunking: Chunking
    rebuilding: Rebuilding | None
    document_count: int
    chunk_count: int
    size_bytes: int
    status: Status
    created_at: str
    updated_at: str

    def weight(self) -> KnowledgeBase:
        """Without what its documents change on their way."""
        return msgspec.structs.replace(self, document_count=0, chunk_count=0, size_bytes=0, status="ready")


_COLUMNS = (
    "knowledge_bases.id, knowledge_bases.name, slug, description, owner_id, visibility,"
    " (SELECT COUNT(*) FROM documents WHERE base_id = knowledge_bases.id),"
    " (SELECT COALESCE(SUM(chunk_count), 0) FROM documents WHERE base_id = knowledge_bases.id),"
    " (SELECT COALESCE(SUM(size_bytes), 0) FROM documents WHERE base_id = knowledge_bases.id),"
    " EXISTS (SELECT 1 FROM knowledge_indexes JOIN ingest_jobs ON ingest_jobs.index_id = knowledge_indexes.row_id"
    " WHERE knowledge_indexes.base_id = knowledge_bases.id),"
    " (SELECT json_array(embedding_model, chunk_size, chunk_overlap) FROM knowledge_indexes"
    " WHERE base_id = knowledge_bases.id AND state = 'active'),"
    " (SELECT json_array(embedding_model, chunk_size, chunk_overlap) FROM knowledge_indexes"
    " WHERE base_id = knowledge_bases.id AND state = 'building'),"
    " created_at, updated_at"
)


def create(tx: Transaction, caller: Caller, body: KnowledgeCreate, default_model: str) -> KnowledgeBase:
    """Make an empty base of the caller's. `default_model` counts where the body names none.

    Raises Conflict for a taken name or slug, NotFound for an unknown model, UnprocessableEntity for one that can't
    embed here, ValidationError.
    """
    slug = body.slug or slug_of(body.name, "base")
    _check_name(body.name)
    for column, value in (("name", body.name), ("slug", slug)):
        sharing.refuse_taken(tx, BASES, caller.user_id, column, value, visibility=body.visibility)
    model = usable_model(tx, caller, body.embedding_model or default_model, body.chunking)
    base_id, now = new_id("kb"), tx.now()
    tx.run(
        "INSERT INTO knowledge_bases (id, owner_id, name, slug, description, visibility, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(base_id, caller.user_id, body.name, slug, body.description, body.visibility, now, now),
    )
    indexes.add(tx, base_id, "active", model, body.chunking)
    sharing.share(tx, caller, base_id, body.shares)
    details = {"visibility": body.visibility, "shares": len(body.shares)}
    audit.record(tx, caller.actor, "knowledge.created", "knowledge_base", base_id, details=details)
    return get(tx, caller, base_id)


def list_(db: Reader, caller: Caller, query: ListQuery) -> Page[KnowledgeBase]:
    """The bases that the caller may read."""
    where, params = sharing.visible_to(caller, BASES)
    spec = ListSpec(
        columns=_COLUMNS,
        source="knowledge_bases",
        sortable={"created_at": "created_at", "updated_at": "updated_at", "name": "name"},
        search=("name", "slug", "description"),
        read=lambda row: _shown(db, caller, row),
    )
    return list_page(db, spec, query, where=where, params=params)


def get(db: Reader, caller: Caller, base_id: str) -> KnowledgeBase:
    """One base that the caller may read, by its id or slug. Raises NotFound."""
    where, params = sharing.visible_to(caller, BASES)
    wanted = find(db, caller, base_id)
    row = db.one(
        f"SELECT {_COLUMNS} FROM knowledge_bases WHERE {where} AND id = ?",  # noqa: S608 (constants of the rooms)
        *(*params, wanted),
    )
    if row is None:
        raise _missing()
    return _shown(db, caller, row)


def find(db: Reader, caller: Caller, base_id: str, access: Access = "read") -> str:
    """The id of a base that the caller may read (or write), by its id or slug.

    Raises NotFound, PermissionDenied for one that the caller may only read.
    """
    if not base_id.startswith("kb-"):
        base_id = sharing.named(db, caller, BASES, "slug", base_id) or base_id
    where, params = sharing.visible_to(caller, BASES, access)
    found: str | None = db.value(
        f"SELECT id FROM knowledge_bases WHERE {where} AND id = ?",  # noqa: S608 (constants of the rooms)
        *(*params, base_id),
    )
    if found is not None:
        return found
    if access == "write":
        find(db, caller, base_id)
        raise PermissionDenied("This knowledge base is shared with you for reading only.")
    raise _missing()


def readable(db: Reader, caller: Caller) -> list[str]:
    """The ids of the bases that the caller may read, the newest `MOST_SEARCHED`."""
    where, params = sharing.visible_to(caller, BASES)
    rows = db.all(
        f"SELECT id FROM knowledge_bases WHERE {where} ORDER BY row_id DESC LIMIT ?",  # noqa: S608 (constants)
        *(*params, MOST_SEARCHED),
    )
    return [base_id for (base_id,) in rows]


def patch(tx: Transaction, caller: Caller, base_id: str, body: KnowledgePatch) -> KnowledgeBase:
    """Change a base. Raises what `create` raises, PermissionDenied where only the owner may."""
    base_id = find(tx, caller, base_id, "write")
    before = get(tx, caller, base_id)
    given = {name for name in body.__struct_fields__ if getattr(body, name) is not UNSET}
    if before.owner_id != caller.user_id and given & {"name", "slug", "visibility", "shares"}:
        raise PermissionDenied("Only its owner names and shares a knowledge base.")
    name = before.name if body.name is UNSET else body.name
    slug = before.slug if body.slug is UNSET else body.slug
    visibility = before.visibility if body.visibility is UNSET else body.visibility
    _check_name(name)
    for column, value in (("name", name), ("slug", slug)):
        sharing.refuse_taken(tx, BASES, before.owner_id, column, value, visibility=visibility, except_id=before.id)
    tx.run(
        "UPDATE knowledge_bases SET name = ?, slug = ?, description = ?, visibility = ?, updated_at = ? WHERE id = ?",
        *(name, slug, before.description if body.description is UNSET else body.description),
        *(visibility, tx.now(), base_id),
    )
    if body.shares is not UNSET:
        sharing.share(tx, caller, base_id, body.shares)
    _reshape(tx, caller, base_id, body)
    details = {"changed": sorted(given)}
    audit.record(tx, caller.actor, "knowledge.updated", "knowledge_base", base_id, details=details)
    return get(tx, caller, base_id)


def delete(tx: Transaction, caller: Caller, base_id: str) -> None:
    """Delete a base with all that is in it; its owner may. Raises NotFound, PermissionDenied."""
    base = get(tx, caller, base_id)
    if base.owner_id != caller.user_id:
        raise PermissionDenied("Only its owner deletes a knowledge base.")
    sharing.forget(tx, base.id)
    tx.run("DELETE FROM knowledge_bases WHERE owner_id = ? AND id = ?", caller.user_id, base.id)
    details = {"documents": base.document_count}
    audit.record(tx, caller.actor, "knowledge.deleted", "knowledge_base", base.id, details=details)


def _reshape(tx: Transaction, caller: Caller, base_id: str, body: KnowledgePatch) -> None:
    """Begin to build another index when the body asks for one, or give up building when it asks for what there is."""
    wanted = indexes.wanted(tx, base_id)
    chunking = wanted.chunking if body.chunking is UNSET else body.chunking
    model = wanted.embedding_model
    if body.embedding_model is not UNSET or body.chunking is not UNSET:
        model = usable_model(tx, caller, model if body.embedding_model is UNSET else body.embedding_model, chunking)
    if (model, chunking) == (wanted.embedding_model, wanted.chunking):
        return
    indexes.rebuild(tx, base_id, model, chunking)


def usable_model(db: Reader, caller: Caller, name: str, chunking: Chunking) -> str:
    """The id of a model that can embed documents that are cut so.

    Raises NotFound, UnprocessableEntity, ValidationError.
    """
    row = catalogue.find(db, name)
    require_kind(row, "embedding")
    caller.require_model(row.id, name)
    if row.source == "remote":
        raise UnprocessableEntity(
            f"The model '{row.name}' runs on another server; documents are embedded on this one.",
            field="embedding_model",
            constraint="supported",
        )
    if chunking.size > row.context_length or chunking.overlap > chunking.size // 2:
        raise ValidationError(
            f"The 'chunking.size' may be up to {row.context_length} tokens with this model, the 'overlap' half of it.",
            field="chunking",
            constraint="maximum",
        )
    return row.id


def _check_name(name: str) -> None:
    if name != name.strip() or not is_line(name):
        raise ValidationError(
            "The 'name' field must have no blanks at its ends and no control characters.",
            field="name",
            constraint="format",
        )


def _missing() -> NotFound:
    return NotFound("There is no such knowledge base.")


def _shape(text: str) -> tuple[str, Chunking]:
    model, size, overlap = msgspec.json.decode(text)
    return model, Chunking(size=size, overlap=overlap)


def _shown(db: Reader, caller: Caller, row: tuple[Any, ...]) -> KnowledgeBase:
    base_id, name, slug, description, owner_id, visibility, documents, chunks, size, busy, now, built = row[:12]
    model, chunking = _shape(now)
    rebuilding = None
    if built is not None:
        wanted_model, wanted = _shape(built)
        rebuilding = Rebuilding(embedding_model=wanted_model, chunking=wanted)
    return KnowledgeBase(
        id=base_id,
        name=name,
        slug=slug,
        description=description,
        owner_id=owner_id,
        visibility=visibility,
        shares=sharing.shares_of(db, base_id) if owner_id == caller.user_id else None,
        embedding_model=model,
        chunking=chunking,
        rebuilding=rebuilding,
        document_count=documents,
        chunk_count=chunks,
        size_bytes=size,
        status="rebuilding" if rebuilding else "indexing" if busy else "ready",
        created_at=rfc3339(row[12]),
        updated_at=rfc3339(row[13]),
    )
