"""Requests on uploads, knowledge bases and their documents, each made to succeed once, for the audit test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from secureai_appliance.core.ids import random_text
from tests.support.knowledge import form, upload_file, upload_form
from tests.support.recipes import Recipe, on
from tests.support.running import Response, Running

UPLOADS = "/api/v1/uploads"


UPLOAD = {"filename": "a", "size": 1, "sha256": hashlib.sha256(b"a").hexdigest()}


def upload(api: Running) -> str:
    return f"{UPLOADS}/{api.ask('POST', UPLOADS, UPLOAD).json['id']}"


def begin_upload(api: Running) -> Callable[[], Response]:
    def ask() -> Response:
        answer = api.ask("POST", UPLOADS, UPLOAD)
        api.ask("DELETE", f"{UPLOADS}/{answer.json['id']}")
        return answer

    return ask


def complete_upload(api: Running) -> Callable[[], Response]:
    path = upload(api)

    def ask() -> Response:
        sent = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        answer = api.ask("PATCH", path, b"a", headers=sent)
        api.ask("DELETE", path)
        return answer

    return ask


def base(api: Running) -> str:
    return f"/api/v1/knowledge/{api.ask('POST', '/api/v1/knowledge', {'name': random_text(8)}).json['id']}"


def document(api: Running, in_base: str = "") -> str:
    of = in_base or base(api)
    return f"{of}/documents/{upload_file(api, f'{of}/documents').json['id']}"


def document_by_itself(api: Running) -> str:
    return f"/api/v1/documents/{document(api).rpartition('/')[2]}"


def document_at_work(api: Running) -> str:
    made = document(api)
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE documents SET status = 'queued' WHERE id = ?", made.rpartition("/")[2])
    return made


def filling(api: Running) -> Callable[[], Response]:
    of = base(api)
    return lambda: upload_file(api, f"{of}/documents")


def importing(api: Running) -> Callable[[], Response]:
    exported = api.ask("GET", f"{base(api)}/export").body
    body = form(("base.zip", exported, "application/zip"), name=random_text(8))
    return lambda: upload_form(api, "/api/v1/knowledge/import", body)


def folder(api: Running) -> str:
    """An allowed one."""
    path = api.appliance.settings.data_folder.root.with_name("followed")
    path.mkdir(exist_ok=True)
    assert api.ask("PUT", "/api/v1/configs/knowledge.folders", {"value": [str(path)]}).status == 200
    return str(path)


def followed(api: Running) -> str:
    made = base(api)
    assert api.ask("PUT", f"{made}/folder", {"path": folder(api)}).status == 200
    return made


def following(api: Running) -> Callable[[], Response]:
    made, path = base(api), folder(api)
    return lambda: api.ask("PUT", f"{made}/folder", {"path": path})


def filling_by_field(api: Running) -> Callable[[], Response]:
    field = base(api).rpartition("/")[2]
    return lambda: upload_file(api, "/api/v1/documents", knowledge_base_id=field)


RECIPES: dict[str, tuple[str, Recipe]] = {
    "POST /api/v1/uploads": ("upload.created", begin_upload),
    "PATCH /api/v1/uploads/{id}": ("upload.completed", complete_upload),
    "DELETE /api/v1/uploads/{id}": ("upload.deleted", on(upload, "DELETE")),
    "POST /api/v1/knowledge": (
        "knowledge.created",
        lambda api: lambda: api.ask("POST", "/api/v1/knowledge", {"name": random_text(8)}),
    ),
    "PATCH /api/v1/knowledge/{id}": ("knowledge.updated", on(base, "PATCH", body={"description": "x"})),
    "DELETE /api/v1/knowledge/{id}": ("knowledge.deleted", on(base, "DELETE")),
    "POST /api/v1/knowledge/{id}/documents": ("document.uploaded", filling),
    "PUT /api/v1/knowledge/{id}/folder": ("knowledge.folder_set", following),
    "DELETE /api/v1/knowledge/{id}/folder": ("knowledge.folder_removed", on(followed, "DELETE", "/folder")),
    "POST /api/v1/knowledge/import": ("knowledge.imported", importing),
    "POST /api/v1/documents": ("document.uploaded", filling_by_field),
    "DELETE /api/v1/knowledge/{id}/documents/{document_id}": ("document.deleted", on(document, "DELETE")),
    "DELETE /api/v1/documents/{document_id}": ("document.deleted", on(document_by_itself, "DELETE")),
    "POST /api/v1/knowledge/{id}/documents/{document_id}/reindex": (
        "document.reindexed",
        on(document, "POST", "/reindex"),
    ),
    "POST /api/v1/knowledge/{id}/documents/{document_id}/cancel": (
        "document.cancelled",
        on(document_at_work, "POST", "/cancel"),
    ),
}
