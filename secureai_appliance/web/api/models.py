"""`/models`: what can be asked."""

from __future__ import annotations

import msgspec

from secureai_appliance.inference.engine import Engine
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import Model, ModelPage
from secureai_appliance.store import ListQuery
from secureai_appliance.web.request import Request


class Queue(msgspec.Struct, kw_only=True):
    """Requests that a model works on, that wait for it, and how many it can work on at once (0: not in memory)."""

    running: int
    waiting: int
    slots: int


def index(request: Request[None, ListQuery]) -> ModelPage:
    models = request.parts.models
    with request.parts.store.read() as db:
        page = catalogue.list_names(db, request.query)
    return ModelPage(
        data=[models.show(row) for row in page.data],
        total=page.total,
        page=page.page,
        page_size=page.page_size,
        next=page.next,
    )


def show(request: Request[None, None]) -> Model:
    with request.parts.store.read() as db:
        row = catalogue.find(db, request.path["id"])
    return request.parts.models.show(row)


def queue(request: Request[None, None]) -> Queue:
    with request.parts.store.read() as db:
        row = catalogue.find(db, request.path["id"])
    loaded = request.parts.models.in_memory().get(row.id)
    if not isinstance(loaded, Engine):
        return Queue(running=0, waiting=0, slots=0)
    state = loaded.queue()
    return Queue(running=state.running, waiting=state.waiting, slots=state.slots)
