"""`/models`: what can be asked, and for administrators what there is to ask."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET

from secureai_appliance.conversations import assistants
from secureai_appliance.core.errors import Conflict, ValidationError
from secureai_appliance.governance import audit
from secureai_appliance.inference.engine import Engine
from secureai_appliance.models import catalogue, changes, importing, uploads
from secureai_appliance.models.catalogue import AssistantNames, Model, ModelPage, ModelRow
from secureai_appliance.models.changes import ModelPatch
from secureai_appliance.models.importing import ModelImport
from secureai_appliance.models.remote import RemoteCreate
from secureai_appliance.store import ListQuery
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match

_POLL = 0.05


class ModelQuery(ListQuery, kw_only=True):
    """`include=assistants`: the caller's assistants too, for clients that know only of models."""

    include: Literal["assistants"] | None = None


class Queue(msgspec.Struct):
    """Requests that a model works on, that wait for it, and how many it can work on at once (0: not in memory)."""

    running: int
    waiting: int
    slots: int


def index(request: Request[None, ModelQuery]) -> ModelPage:
    models = request.parts.models
    if request.query.include is not None:
        return _with_assistants(request)
    with request.parts.store.read() as db:
        page = catalogue.list_names(db, request.query)
    return ModelPage(
        data=[models.show_to(request.caller, row) for row in page.data],
        total=page.total,
        page=page.page,
        page_size=page.page_size,
        next=page.next,
    )


def _with_assistants(request: Request[None, ModelQuery]) -> ModelPage:
    """An assistant is listed as what it is asked as: its model under its own id."""
    models, caller = request.parts.models, request.caller
    caller.require("assistants:read")
    shown: list[Model] = []
    with request.parts.store.read() as db:
        page = assistants.list_with_models(db, caller, request.query)
        for listed in page.data:
            model = models.show_to(caller, catalogue.find(db, listed.name))
            if listed.assistant_id is not None:
                assistant = assistants.SHELF.get(db, caller, listed.assistant_id)
                names = AssistantNames(name=assistant.name, slug=assistant.slug, description=assistant.description)
                model = msgspec.structs.replace(
                    model,
                    id=assistant.id,
                    alias_of=model.alias_of or model.id,
                    aliases=[],
                    assistant=names,
                    created_at=assistant.created_at,
                    updated_at=assistant.updated_at,
                )
            shown.append(model)
    return ModelPage(data=shown, total=page.total, page=page.page, page_size=page.page_size, next=page.next)


def show(request: Request[None, None]) -> Model:
    return request.parts.models.show_to(request.caller, _row(request))


def create(request: Request[ModelImport, None]) -> Model | Answer:
    parts, body = request.parts, request.body
    if [body.file, body.upload_id, body.remote].count(None) != 2:
        raise ValidationError(
            "One of the fields 'file', 'upload_id' and 'remote' is required.", field="file", constraint="required"
        )
    if body.remote is not None:
        return _add_remote(request, body.remote)
    importer = importing.Importer(parts.store, parts.data, parts.models.loader)
    try:
        if body.upload_id is not None:
            return parts.models.show(_import_upload(request, importer, body.upload_id))
        return parts.models.show(importer.run(body, request.disconnected, request.caller.actor))
    except importing.Abandoned:
        return Answer(CLIENT_CLOSED_REQUEST)


def _import_upload(request: Request[ModelImport, None], importer: importing.Importer, upload_id: str) -> ModelRow:
    parts, caller = request.parts, request.caller
    with parts.store.read() as db:
        upload = uploads.find(db, caller, upload_id)
    if upload.offset < upload.size:
        raise Conflict("The upload is not complete.", constraint="incomplete", details={"offset": upload.offset})
    body = msgspec.structs.replace(request.body, file=upload.filename)
    uploaded = importing.Uploaded(parts.uploads.path(upload), lambda tx: uploads.remove(tx, caller, upload))
    return importer.run(body, request.disconnected, caller.actor, uploaded)


def _add_remote(request: Request[ModelImport, None], remote: RemoteCreate) -> Model:
    parts, body = request.parts, request.body
    if body.sha256 is not None:
        raise ValidationError("A remote model has no file to compare.", field="sha256", constraint="exclusive")
    name = body.name or importing.id_from(remote.model)
    with parts.store.transaction() as tx:
        row = parts.models.remotes.add(tx, request.caller.actor, name, remote, list(body.aliases))
    # asked only now: nothing waits for another server inside a transaction
    parts.models.remotes.check(row)
    return parts.models.show(row)


def update(request: Request[ModelPatch, None]) -> Model:
    models = request.parts.models
    row = catalogue.find(request.tx, request.path["id"])
    require_match(request, models.show(row))
    changed = changes.patch(request.tx, row, request.body, request.caller.actor)
    if request.body.remote is not UNSET:
        changed = models.remotes.change(request.tx, request.caller.actor, changed, request.body.remote)
    return models.show(changed)


def delete(request: Request[None, None]) -> None:
    models = request.parts.models
    with request.parts.store.transaction() as tx:
        row = catalogue.find(tx, request.path["id"])
        require_match(request, models.show(row))
        models.refuse_busy(row)
        changes.remove(tx, row, request.caller.actor)
    # only now: until the row is gone for certain the model has to have its file
    models.forget(row.id)
    importing.remove_file(request.parts.data, row)


def load(request: Request[None, None]) -> Model | Answer:
    models, row = request.parts.models, _row(request)
    # before: whether it can be loaded is known when whoever asked may have gone
    _record(request, row, "model.load_requested")
    with models.held(row):
        handle = models.load(row)
        while handle.wait(_POLL) is None:
            if request.disconnected():
                return Answer(CLIENT_CLOSED_REQUEST)
    return models.show(_row(request))


def unload(request: Request[None, None]) -> Model:
    row = _row(request)
    request.parts.models.refuse_remote(row)
    request.parts.models.unload(row)
    _record(request, row, "model.unloaded")
    return request.parts.models.show(row)


def queue(request: Request[None, None]) -> Queue:
    row = _row(request)
    if row.source == "remote":
        return Queue(*request.parts.models.remotes.queue(row))
    loaded = request.parts.models.in_memory().get(row.id)
    if not isinstance(loaded, Engine):
        return Queue(running=0, waiting=0, slots=0)
    state = loaded.queue()
    return Queue(running=state.running, waiting=state.waiting, slots=state.slots)


def _record(request: Request[None, None], row: ModelRow, action: str) -> None:
    with request.parts.store.transaction() as tx:
        audit.record(tx, request.caller.actor, action, "model", row.id)


def _row(request: Request[None, None]) -> ModelRow:
    with request.parts.store.read() as db:
        return catalogue.find(db, request.path["id"])
