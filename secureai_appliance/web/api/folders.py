"""`/knowledge/{id}/folder`: the folder of the server that a base is filled from."""

from __future__ import annotations

from secureai_appliance.accounts import users
from secureai_appliance.knowledge.following import folders
from secureai_appliance.knowledge.following.folders import Folder, FolderFile, FolderFileQuery, FolderPut
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def show(request: Request[None, None]) -> Folder:
    with request.parts.store.read() as db:
        return folders.get(db, request.caller, request.path["id"])


def put(request: Request[FolderPut, None]) -> Folder:
    parts, caller, base_id = request.parts, request.caller, request.path["id"]
    with parts.store.read() as db:
        folders.find(db, caller, base_id)  # whoever may not change the base is told nothing of the server's folders
    folders.require_allowed(request.body.path, folders.Allowed(parts.configs.value(folders.ROOTS), parts.data.root))
    with parts.store.transaction() as tx:
        users.require_active(tx, caller.user_id)
        if (current := folders.find(tx, caller, base_id)) is not None:
            require_match(request, current)
        return folders.put(tx, caller, base_id, request.body)


def delete(request: Request[None, None]) -> None:
    require_match(request, folders.get(request.tx, request.caller, request.path["id"]))
    folders.delete(request.tx, request.caller, request.path["id"])


def files(request: Request[None, FolderFileQuery]) -> Page[FolderFile]:
    with request.parts.store.read() as db:
        return folders.files(db, request.caller, request.path["id"], request.query)
