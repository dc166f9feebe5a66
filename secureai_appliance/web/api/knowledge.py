"""`/knowledge`: bases."""

from __future__ import annotations

from secureai_appliance.knowledge import bases
from secureai_appliance.knowledge.bases import KnowledgeBase, KnowledgeCreate, KnowledgePatch
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, ListQuery]) -> Page[KnowledgeBase]:
    with request.parts.store.read() as db:
        return bases.list_(db, request.caller, request.query)


def create(request: Request[KnowledgeCreate, None]) -> KnowledgeBase:
    default = request.parts.configs.value("knowledge.embedding_model")
    return bases.create(request.tx, request.caller, request.body, default)


def show(request: Request[None, None]) -> KnowledgeBase:
    with request.parts.store.read() as db:
        return bases.get(db, request.caller, request.path["id"])


def update(request: Request[KnowledgePatch, None]) -> KnowledgeBase:
    require_match(request, bases.get(request.tx, request.caller, request.path["id"]))
    request.tx.after_commit(request.parts.ingest.wake)
    return bases.patch(request.tx, request.caller, request.path["id"], request.body)


def delete(request: Request[None, None]) -> None:
    require_match(request, bases.get(request.tx, request.caller, request.path["id"]))
    bases.delete(request.tx, request.caller, request.path["id"])
