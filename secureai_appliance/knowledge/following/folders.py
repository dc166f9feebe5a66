"""Folders of the server that knowledge bases are filled from: which, who may say so, and what was found in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound, UnprocessableEntity
from secureai_appliance.core.ids import new_id
from secureai_appliance.governance import audit
from secureai_appliance.knowledge import bases
from secureai_appliance.knowledge.documents import DocumentError
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

ROOTS = "knowledge.folders"
"""The setting with the folders below which an administrator allows them."""
State = Literal["waiting", "taken", "failed"]

NO_ANSWER = DocumentError(
    code="no_answer",
    message="The folder's file system does not answer. Nothing is removed, and it is gone on with once it answers.",
)
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Allowed:
    """What an administrator allows, `roots` and what is below them, but never the appliance's own folder."""

    roots: Sequence[str]
    data: Path


class FolderPut(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A folder of the server, as an absolute path."""

    path: Annotated[str, Meta(min_length=1, max_length=4000)]


class Folder(msgspec.Struct, kw_only=True):
    """The folder that a base is filled from. `problem` says why it is not followed at the moment."""

    id: str
    knowledge_base_id: str
    path: str
    problem: DocumentError | None
    created_at: str
    updated_at: str


class FolderFile(msgspec.Struct, kw_only=True):
    """A file of it. `waiting`: it has to look the same twice; `failed`: it, or its document, can't be read."""

    path: str
    size_bytes: int
    status: State
    document_id: str | None
    error: DocumentError | None
    created_at: str


class FolderFileQuery(ListQuery, kw_only=True):
    """`status` keeps files of one."""

    status: State | None = None


_COLUMNS = "id, base_id, path, problem_code, problem_message, created_at, updated_at"
_STATUS = (
    "CASE WHEN folder_files.state = 'seen' THEN 'waiting'"
    " WHEN folder_files.state = 'refused' OR documents.status = 'failed' THEN 'failed' ELSE 'taken' END"
)
_FILES: ListSpec[FolderFile] = ListSpec(
    columns="folder_files.path, folder_files.size_bytes, document_id,"
    " COALESCE(folder_files.error_code, documents.error_code),"
    f" COALESCE(folder_files.error_message, documents.error_message), folder_files.created_at, {_STATUS}",
    source="folder_files LEFT JOIN documents ON documents.id = folder_files.document_id",
    row_id="folder_files.row_id",
    created_at="folder_files.created_at",
    sortable={"created_at": "folder_files.created_at", "path": "folder_files.path"},
    search=("folder_files.path",),
    read=lambda row: FolderFile(
        path=row[0],
        size_bytes=row[1],
        status=row[6],
        document_id=row[2],
        error=None if row[3] is None else DocumentError(code=row[3], message=row[4]),
        created_at=rfc3339(row[5]),
    ),
)


def find(db: Reader, caller: Caller, base_id: str) -> Folder | None:
    """The folder of a base that the caller may change: a path of the server is for nobody else to see.

    Raises NotFound for the base, PermissionDenied.
    """
    row = db.one(
        f"SELECT {_COLUMNS} FROM knowledge_folders WHERE base_id = ?",  # noqa: S608 (constant)
        bases.find(db, caller, base_id, "write"),
    )
    return None if row is None else _shown(row)


def get(db: Reader, caller: Caller, base_id: str) -> Folder:
    """The same. Raises NotFound also for a base that has none."""
    folder = find(db, caller, base_id)
    if folder is None:
        raise NotFound("This knowledge base is filled from no folder.")
    return folder


def files(db: Reader, caller: Caller, base_id: str, query: FolderFileQuery) -> Page[FolderFile]:
    """What was found in a base's folder. Raises NotFound, PermissionDenied."""
    where, params = "folder_files.base_id = ?", [get(db, caller, base_id).knowledge_base_id]
    if query.status is not None:
        where += f" AND {_STATUS} = ?"
        params.append(query.status)
    return list_page(db, _FILES, query, where=where, params=tuple(params))


def require_allowed(path: str, allowed: Allowed) -> None:
    """Before `put`, and never in its transaction: everybody who writes would wait for a file system that is away.

    Raises UnprocessableEntity for a folder that is none, not allowed or the appliance's, or that doesn't answer.
    """
    found: list[DocumentError | None] = []
    asking = threading.Thread(target=lambda: found.append(refusal(path, allowed)), name="a folder", daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    reason = found[0] if found else NO_ANSWER
    if reason is not None:
        raise UnprocessableEntity(reason.message, field="path", constraint=reason.code)


def put(tx: Transaction, caller: Caller, base_id: str, body: FolderPut) -> Folder:
    """Have a base filled from a folder from now on; one that it had is given up, its documents with it.

    Raises NotFound, PermissionDenied.
    """
    base_id = bases.find(tx, caller, base_id, "write")
    now = tx.now()
    tx.run(
        "INSERT INTO knowledge_folders (id, base_id, path, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (base_id) DO UPDATE SET path = excluded.path, updated_at = excluded.updated_at, looked_at = 0,"
        " device = NULL, problem_code = NULL, problem_message = NULL",
        *(new_id("fld"), base_id, body.path, now, now),
    )
    details: audit.Details = {"path": body.path}
    audit.record(tx, caller.actor, "knowledge.folder_set", "knowledge_base", base_id, details=details)
    return get(tx, caller, base_id)


def delete(tx: Transaction, caller: Caller, base_id: str) -> None:
    """Follow the folder no more; the documents that came from it stay. Raises NotFound, PermissionDenied."""
    folder = get(tx, caller, base_id)
    tx.run("DELETE FROM knowledge_folders WHERE base_id = ?", folder.knowledge_base_id)
    details: audit.Details = {"path": folder.path}
    audit.record(
        tx, caller.actor, "knowledge.folder_removed", "knowledge_base", folder.knowledge_base_id, details=details
    )


def refusal(path: str, allowed: Allowed) -> DocumentError | None:
    """Why a folder may not be followed now: it is not allowed, the appliance's own, or not there."""
    if not path.startswith("/") or "\0" in path:
        return DocumentError(code="format", message="The 'path' field must be an absolute path.")
    real, own = Path(os.path.realpath(path)), Path(os.path.realpath(allowed.data))
    # the likely one first: another may be on a file system that doesn't answer
    roots = sorted(allowed.roots, key=lambda root: not PurePath(path).is_relative_to(root))
    # what it is before whether it is there: nobody learns what lies elsewhere
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        return DocumentError(
            code="not_allowed", message=f"The folder is not below one of those that the setting '{ROOTS}' names."
        )
    if real.is_relative_to(own) or own.is_relative_to(real):
        return DocumentError(code="not_allowed", message="The appliance's own data folder is never followed.")
    if not os.path.isdir(real):  # noqa: PTH112 (Path's raises where it may not be looked at)
        return DocumentError(code="missing", message="The folder is not there, or can't be looked into.")
    return None


def _shown(row: tuple[Any, ...]) -> Folder:
    return Folder(
        id=row[0],
        knowledge_base_id=row[1],
        path=row[2],
        problem=None if row[3] is None else DocumentError(code=row[3], message=row[4]),
        created_at=rfc3339(row[5]),
        updated_at=rfc3339(row[6]),
    )
