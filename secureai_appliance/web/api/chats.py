"""`/chats`: conversations that are kept."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from secureai_appliance.conversations import chat_export, chat_messages, chats, quotes
from secureai_appliance.conversations.chat_export import Format
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.conversations.chats import (
    Chat,
    ChatCreate,
    ChatPatch,
    ChatQuery,
    ListedChat,
    OthersQuery,
    WholeChat,
)
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.governance import audit
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.answers import Download
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match

EVERYBODY = "all"
TYPES: dict[str, str] = {"json": "application/json", "markdown": "text/markdown; charset=utf-8"}
_SUFFIXES: dict[str, str] = {"json": "json", "markdown": "md"}
_OF_OTHERS = "users:admin"


class MessagesQuery(ListQuery, kw_only=True):
    """The list's own, and whose chat it is."""

    user_id: Annotated[str, Meta(max_length=200, description="For administrators: another user's id.")] | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Why they read it.")] | None = None


class ExportQuery(OthersQuery, kw_only=True):
    """The form of the file."""

    format: Format = "json"


def index(request: Request[None, ChatQuery]) -> Page[ListedChat]:
    owner = _owner(request, request.query.user_id, request.query.reason)
    with request.parts.store.read() as db:
        page = chats.list_(db, request.query, None if owner == EVERYBODY else owner, request.caller)
    _note(request, owner, None, request.query.reason)
    return page


def create(request: Request[ChatCreate, None]) -> Chat:
    return chats.create(request.tx, request.caller, request.body)


def show(request: Request[None, OthersQuery]) -> WholeChat:
    owner = _owner(request, request.query.user_id, request.query.reason)
    with request.parts.store.read() as db:
        chat = chats.whole(db, owner, request.path["id"], request.caller)
    _note(request, owner, chat.id, request.query.reason)
    return chat


def update(request: Request[ChatPatch, None]) -> Chat:
    _match(request)
    return chats.patch(request.tx, request.caller, request.path["id"], request.body)


def delete(request: Request[None, None]) -> None:
    _match(request)
    chats.delete(request.tx, request.caller, request.path["id"])


def archive(request: Request[None, None]) -> Chat:
    return chats.archive(request.tx, request.caller, request.path["id"], archived=True)


def unarchive(request: Request[None, None]) -> Chat:
    return chats.archive(request.tx, request.caller, request.path["id"], archived=False)


def messages(request: Request[None, MessagesQuery]) -> Page[ChatMessage]:
    owner = _owner(request, request.query.user_id, request.query.reason)
    with request.parts.store.read() as db:
        chat = chats.get(db, owner, request.path["id"])
        page = chat_messages.list_(db, chats.place(db, chat.id), request.query)
        quotes.show(db, request.caller, page.data)
    _note(request, owner, chat.id, request.query.reason)
    return page


def export(request: Request[None, ExportQuery]) -> Download:
    owner, kind = _owner(request, request.query.user_id, request.query.reason), request.query.format
    chat_id = request.path["id"]
    pieces = chat_export.pieces(request.parts.store, owner, chat_id, kind, request.caller)
    _note(request, owner, chat_id, request.query.reason)
    return Download(pieces, TYPES[kind], f"{chat_id}.{_SUFFIXES[kind]}")


def _owner(request: Request[None, Any], user_id: str | None, reason: str | None) -> str:
    """Whose chats are read: the caller's own, or with the permission and a reason somebody else's."""
    caller = request.caller
    if user_id is None or user_id == caller.user_id:
        return caller.user_id
    caller.require(_OF_OTHERS)
    if not (reason or "").strip():
        raise ValidationError("Reading the chats of others needs a 'reason'.", field="reason", constraint="required")
    return user_id


def _note(request: Request[None, Any], owner: str, chat_id: str | None, reason: str | None) -> None:
    """Before it is shown: that somebody reads what is another's."""
    if owner != request.caller.user_id:
        actor, store = request.caller.actor, request.parts.store
        audit.read_of_others(store, actor, "chat", chat_id, owner, reason=reason or "")


def _match(request: Request[ChatPatch, None] | Request[None, None]) -> None:
    # without the header the messages need not be read
    if "HTTP_IF_MATCH" in request.environ:
        require_match(request, chats.whole(request.tx, request.caller.user_id, request.path["id"], request.caller))
