"""`/knowledge`: bases."""

from __future__ import annotations

from secureai_appliance.conversations.chats import OthersQuery
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.governance import audit
from secureai_appliance.knowledge import bases, traces
from secureai_appliance.knowledge.bases import KnowledgeBase, KnowledgeCreate, KnowledgePatch
from secureai_appliance.knowledge.traces import StoredTrace
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


def trace(request: Request[None, OthersQuery]) -> StoredTrace:
    """One's own; an administrator's reading of another's is noted before it is shown."""
    caller, store, query = request.caller, request.parts.store, request.query
    base_id, trace_id = request.path["id"], request.path["trace_id"]
    if query.user_id is None or query.user_id == caller.user_id:
        with store.read() as db:
            return traces.get(db, caller, base_id, trace_id)
    caller.require("users:admin")
    if not (query.reason or "").strip():
        raise ValidationError("Reading the traces of others needs a 'reason'.", field="reason", constraint="required")
    with store.read() as db:
        found = traces.of_user(db, query.user_id, base_id, trace_id)
    audit.read_of_others(store, caller.actor, "retrieval_trace", trace_id, query.user_id, reason=query.reason or "")
    return found
