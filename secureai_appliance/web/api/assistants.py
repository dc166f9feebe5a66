"""`/assistants`: models with instructions, knowledge and tools."""

from __future__ import annotations

from secureai_appliance.conversations import assistants
from secureai_appliance.conversations.assistants import (
    SHELF,
    Assistant,
    AssistantCreate,
    AssistantPatch,
    AssistantQuery,
)
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, AssistantQuery]) -> Page[Assistant]:
    with request.parts.store.read() as db:
        return assistants.list_(db, request.caller, request.query)


def create(request: Request[AssistantCreate, None]) -> Assistant:
    return assistants.create(request.tx, request.caller, request.body)


def show(request: Request[None, None]) -> Assistant:
    with request.parts.store.read() as db:
        return SHELF.get(db, request.caller, request.path["id"])


def update(request: Request[AssistantPatch, None]) -> Assistant:
    current = SHELF.get(request.tx, request.caller, request.path["id"])
    require_match(request, current)
    return assistants.patch(request.tx, request.caller, current, request.body)


def delete(request: Request[None, None]) -> None:
    current = SHELF.get(request.tx, request.caller, request.path["id"])
    require_match(request, current)
    SHELF.delete(request.tx, request.caller, current)
