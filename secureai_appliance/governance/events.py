"""Events: what happens here that other programs may want to hear of (webhooks).

`emit` runs in the transaction of the change and puts down who is to be told: a change that was stored is told at least
once, one that was rolled back never. Each kind of event is a struct, registered in `EVENTS`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.ids import new_id
from secureai_appliance.store import Store, Transaction

EventType = Literal[
    "chat.created",
    "chat.completed",
    "document.uploaded",
    "document.indexed",
    "document.failed",
    "user.created",
    "user.role_changed",
    "limit.reached",
    "webhook.disabled",
]
TEST = "webhook.test"
"""Sent by `POST /webhooks/{id}/test`, to that one alone; nobody subscribes to it."""


class ChatCreated(msgspec.Struct, kw_only=True):
    """A new conversation is started."""

    chat_id: str
    user_id: str
    title: str
    assistant_id: str | None
    model: str | None


class TokensUsed(msgspec.Struct, kw_only=True):
    """Tokens of one completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompleted(msgspec.Struct, kw_only=True):
    """A model's answer is complete. `chat_id` null: it is kept in no chat."""

    completion_id: str
    chat_id: str | None
    user_id: str
    model: str
    finish_reason: str
    usage: TokensUsed


class DocumentUploaded(msgspec.Struct, kw_only=True):
    """A file was uploaded to a knowledge base."""

    document_id: str
    knowledge_base_id: str
    filename: str
    size_bytes: int
    user_id: str


class DocumentIndexed(msgspec.Struct, kw_only=True):
    """A document can be searched from now on. `page_count` null: its format has no pages."""

    document_id: str
    knowledge_base_id: str
    filename: str
    status: Literal["indexed"] = "indexed"
    page_count: int | None


class DocumentError(msgspec.Struct, kw_only=True):
    """Why a document can't be read."""

    code: str
    message: str


class DocumentFailed(msgspec.Struct, kw_only=True):
    """A document could not be read."""

    document_id: str
    knowledge_base_id: str
    filename: str
    status: Literal["failed"] = "failed"
    error: DocumentError


class UserCreated(msgspec.Struct, kw_only=True):
    """A new user."""

    user_id: str
    email: str
    role: str


class UserRoleChanged(msgspec.Struct, kw_only=True):
    """A user has another role. `changed_by` null: it was done on the server's own command line."""

    user_id: str
    old_role: str
    new_role: str
    changed_by: str | None


class LimitReached(msgspec.Struct, kw_only=True):
    """A limit refused a user's request, for the first time in this window."""

    user_id: str
    window: str
    limit: int
    resets_at: str


class WebhookDisabled(msgspec.Struct, kw_only=True):
    """A webhook gets nothing any more: it answered 410 (`gone`), or nothing but failures for days (`failing`)."""

    webhook_id: str
    reason: Literal["gone", "failing"]


class WebhookTest(msgspec.Struct, kw_only=True):
    """A test that an administrator asked for."""

    webhook_id: str


EVENTS: dict[EventType, type[msgspec.Struct]] = {
    "chat.created": ChatCreated,
    "chat.completed": ChatCompleted,
    "document.uploaded": DocumentUploaded,
    "document.indexed": DocumentIndexed,
    "document.failed": DocumentFailed,
    "user.created": UserCreated,
    "user.role_changed": UserRoleChanged,
    "limit.reached": LimitReached,
    "webhook.disabled": WebhookDisabled,
}
_TYPES: dict[type[msgspec.Struct], str] = {**{kind: name for name, kind in EVENTS.items()}, WebhookTest: TEST}


class Envelope(msgspec.Struct, kw_only=True):
    """The body of a delivery: `id` is the event's, the same however often it is delivered."""

    id: str
    event: str
    timestamp: str
    data: Any


def emit(tx: Transaction, data: msgspec.Struct) -> None:
    """Tell everybody who wants to hear of it, once this transaction is stored. `data`: one of the structs of `EVENTS`.

    Costs one small query when nobody does.
    """
    name = _TYPES[type(data)]
    # the oldest webhook first: the order of its rows is the order in which an event goes out
    wanting = tx.all(
        "SELECT id FROM webhooks WHERE enabled AND EXISTS (SELECT 1 FROM json_each(events) WHERE value = ?)"
        " ORDER BY row_id",
        name,
    )
    if wanting:
        event_id = put_down(tx, data)
        for (webhook_id,) in wanting:
            deliver_to(tx, webhook_id, event_id)


def announce(store: Store, data: msgspec.Struct) -> None:
    """`emit` for what is no change of the file: in a transaction of its own, and in none when nobody wants to hear it.

    Raises ServiceUnavailable.
    """
    name = _TYPES[type(data)]
    with store.read() as db:
        wanted = db.value(
            "SELECT EXISTS (SELECT 1 FROM webhooks, json_each(events) WHERE enabled AND value = ?)",
            name,
        )
    if wanted:
        with store.transaction() as tx:
            emit(tx, data)


def put_down(tx: Transaction, data: msgspec.Struct) -> str:
    """Store an event's body; its id."""
    name, event_id, now = _TYPES[type(data)], new_id("evt"), tx.now()
    body = msgspec.json.encode(Envelope(id=event_id, event=name, timestamp=rfc3339(now), data=data))
    tx.run("INSERT INTO events (id, type, body, created_at) VALUES (?, ?, ?, ?)", event_id, name, body.decode(), now)
    return event_id


def deliver_to(tx: Transaction, webhook_id: str, event_id: str) -> str:
    """Have an event delivered to one webhook, from now on; the delivery's id."""
    delivery_id, now = new_id("dlv"), tx.now()
    tx.run(
        "INSERT INTO deliveries (id, webhook_id, event_id, status, next_at, created_at, updated_at)"
        " VALUES (?, ?, ?, 'pending', ?, ?, ?)",
        *(delivery_id, webhook_id, event_id, tx.wall(), now, now),
    )
    return delivery_id
