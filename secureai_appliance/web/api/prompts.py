"""`/prompts`: saved texts with variables."""

from __future__ import annotations

from secureai_appliance.conversations import prompts
from secureai_appliance.conversations.prompts import (
    SHELF,
    Prompt,
    PromptCreate,
    PromptPatch,
    PromptQuery,
    PromptRender,
    RenderedPrompt,
)
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, PromptQuery]) -> Page[Prompt]:
    with request.parts.store.read() as db:
        return prompts.list_(db, request.caller, request.query)


def create(request: Request[PromptCreate, None]) -> Prompt:
    return prompts.create(request.tx, request.caller, request.body)


def show(request: Request[None, None]) -> Prompt:
    with request.parts.store.read() as db:
        return SHELF.get(db, request.caller, request.path["id"])


def update(request: Request[PromptPatch, None]) -> Prompt:
    current = SHELF.get(request.tx, request.caller, request.path["id"])
    require_match(request, current)
    return prompts.patch(request.tx, request.caller, current, request.body)


def delete(request: Request[None, None]) -> None:
    current = SHELF.get(request.tx, request.caller, request.path["id"])
    require_match(request, current)
    SHELF.delete(request.tx, request.caller, current)


def render(request: Request[PromptRender, None]) -> RenderedPrompt:
    with request.parts.store.read() as db:
        prompt = SHELF.get(db, request.caller, request.path["id"])
    return prompts.render(prompt, request.body)
