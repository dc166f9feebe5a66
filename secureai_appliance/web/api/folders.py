"""`/knowledge/{id}/folder`: the folder of the server that a base is filled from."""

from __future__ import annotations

from secureai_appliance.knowledge import folders
from secureai_appliance.knowledge.folders import Folder, FolderFile, FolderFileQuery, FolderPut
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def show(request: Request[None, None]) -> Folder:
    with request.parts.store.read() as db:
        return folders.get(db, request.caller, request.path["id"])


def put(request: Request[FolderPut, None]) -> Folder:
    parts, caller, base_id = request.parts, request.caller, request.path["id"]
    if (current := folders.find(request.tx, caller, base_id)) is not None:
        require_match(request, current)
    allowed = folders.Allowed(parts.configs.value(folders.ROOTS), parts.data.root)
    return folders.put(request.tx, caller, base_id, request.body, allowed)


def delete(request: Request[None, None]) -> None:
    require_match(request, folders.get(request.tx, request.caller, request.path["id"]))
    folders.delete(request.tx, request.caller, request.path["id"])


def files(request: Request[None, FolderFileQuery]) -> Page[FolderFile]:
    with request.parts.store.read() as db:
        return folders.files(db, request.caller, request.path["id"], request.query)
