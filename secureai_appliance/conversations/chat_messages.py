"""What was said in a chat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from secureai_appliance.conversations import chat_search
from secureai_appliance.conversations.answers import Citation, Retrieved, ToolCall, Usage
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict
from secureai_appliance.core.ids import new_id
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

MOST_MESSAGES = 10_000
"""Of one chat: what a request to a model may hold."""

Role = Literal["system", "developer", "user", "assistant", "tool"]
MessageEnd = Literal["stop", "length", "tool_calls", "cancelled", "interrupted", "error"]
"""How an answer ended: `cancelled` when its client went, `interrupted` when the appliance did, `error` otherwise."""


class ChatMessage(msgspec.Struct, kw_only=True):
    """One message of a chat. `content` is null where there are only tool calls.

    `citations`, `retrieval`, `usage`, `finish_reason` and `completion_id` are those of an answer, null for what was
    said to the model; the first two also where no knowledge was used. A tool that looked into documents has the
    citations that it told.
    """

    id: str
    role: Role
    content: str | None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    citations: list[Citation] | None = None
    retrieval: Retrieved | None = None
    usage: Usage | None = None
    finish_reason: MessageEnd | None = None
    completion_id: str | None = None
    created_at: str


class NewMessage(msgspec.Struct, kw_only=True):
    """A message before it is written."""

    role: Role
    content: str | None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    citations: list[Citation] | None = None
    retrieval: Retrieved | None = None
    usage: Usage | None = None
    finish_reason: MessageEnd | None = None
    completion_id: str | None = None
    terms: str = ""
    """What it is found by; made before the transaction."""


def add(tx: Transaction, chat: int, new: list[NewMessage]) -> None:
    """Write messages behind those that the chat at this row_id has. Raises Conflict when it would have too many."""
    first, end = chat_search.places(chat)
    last = int(tx.value("SELECT MAX(row_id) FROM messages WHERE row_id > ? AND row_id < ?", first, end) or first)
    if last - first + len(new) > MOST_MESSAGES:
        raise Conflict(f"A chat has at most {MOST_MESSAGES:,} messages: begin another.", constraint="max_items")
    for place, message in enumerate(new, start=last + 1):
        tx.run(
            "INSERT INTO messages (row_id, id, role, content, name, tool_calls, tool_call_id, citations, retrieval,"
            " usage, finish_reason, completion_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(place, new_id("msg"), message.role, message.content, message.name, _json(message.tool_calls)),
            *(message.tool_call_id, _json(message.citations), _json(message.retrieval), _json(message.usage)),
            *(message.finish_reason, message.completion_id, tx.now()),
        )
        if message.terms:
            chat_search.index(tx, place, message.terms)
    tx.run(
        "UPDATE chats SET message_count = message_count + ?, updated_at = ? WHERE row_id = ?",
        *(len(new), tx.now(), chat),
    )


def all_of(db: Reader, chat: int) -> list[ChatMessage]:
    """All messages of the chat at this row_id, oldest first."""
    return after(db, chat, 0, MOST_MESSAGES)


def after(db: Reader, chat: int, number: int, limit: int) -> list[ChatMessage]:
    """At most `limit` messages behind the first `number`."""
    first, end = chat_search.places(chat)
    rows = db.all(
        f"SELECT {_COLUMNS} FROM messages WHERE row_id > ? AND row_id < ? ORDER BY row_id LIMIT ?",  # noqa: S608
        *(first + number, end, limit),
    )
    return [_message(row) for row in rows]


def at(db: Reader, places: Iterable[int]) -> dict[int, ChatMessage]:
    """The messages at these row_ids, as far as some stand there."""
    rows = db.all(
        f"SELECT row_id, {_COLUMNS} FROM messages WHERE row_id IN (SELECT value FROM json_each(?))",  # noqa: S608
        msgspec.json.encode(list(places)).decode(),
    )
    return {row_id: _message(tuple(row)) for row_id, *row in rows}


def size(db: Reader, chats: list[int]) -> int:
    """Bytes of text in these chats."""
    sql = "SELECT SUM(octet_length(content)) FROM messages WHERE row_id > ? AND row_id < ?"
    return sum(int(db.value(sql, *chat_search.places(chat)) or 0) for chat in chats)


def list_(db: Reader, chat: int, query: ListQuery) -> Page[ChatMessage]:
    """A page of the messages, oldest first unless `sort` says otherwise."""
    return list_page(db, _LIST, query, where="row_id > ? AND row_id < ?", params=chat_search.places(chat))


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _message(row: tuple[Any, ...]) -> ChatMessage:
    found = dict(zip(_NAMES, row, strict=True))
    for name in ("tool_calls", "citations", "retrieval", "usage"):
        found[name] = None if found[name] is None else msgspec.json.decode(found[name])
    return msgspec.convert({**found, "created_at": rfc3339(found["created_at"])}, ChatMessage)


_NAMES = (
    *("id", "role", "content", "name", "tool_calls", "tool_call_id", "citations", "retrieval", "usage"),
    *("finish_reason", "completion_id", "created_at"),
)
_COLUMNS = ", ".join(_NAMES)
_LIST: ListSpec[ChatMessage] = ListSpec(
    columns=_COLUMNS,
    source="messages",
    sortable={"created_at": "created_at"},
    search=("content",),
    default_sort="created_at",
    read=_message,
)
