"""A chat as a file, made while it is sent: in pages, so that no transaction reads for long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import chat_messages, chats, quotes
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.conversations.chats import Chat
from secureai_appliance.store import Store

Format = Literal["json", "markdown"]
_AT_ONCE = 100
_SAYS = {"user": "User", "assistant": "Assistant", "system": "System", "developer": "Developer", "tool": "Tool"}


def pieces(store: Store, owner_id: str, chat_id: str, kind: Format, reader: Caller) -> Iterator[bytes]:
    """The chat with the messages that it has now, as `reader` may see them. Raises NotFound before the first piece."""
    with store.read() as db:
        chat = chats.get(db, owner_id, chat_id)
        place = chats.place(db, chat_id)
    pages = _pages(store, chat, place, reader)
    return _json(chat, pages) if kind == "json" else _markdown(chat, pages)


def _pages(store: Store, chat: Chat, place: int, reader: Caller) -> Iterator[list[ChatMessage]]:
    for number in range(0, chat.message_count, _AT_ONCE):
        with store.read() as db:
            page = chat_messages.after(db, place, number, min(_AT_ONCE, chat.message_count - number))
            quotes.show(db, reader, page)
        yield page


def _json(chat: Chat, pages: Iterator[list[ChatMessage]]) -> Iterator[bytes]:
    encode = msgspec.json.encode
    yield encode(chat)[:-1] + b',"messages":['
    first = True
    for page in pages:
        for message in page:
            yield (b"" if first else b",") + encode(message)
            first = False
    yield b"]}"


def _markdown(chat: Chat, pages: Iterator[list[ChatMessage]]) -> Iterator[bytes]:
    yield f"# {chat.title}\n\n{chat.created_at}\n".encode()
    for page in pages:
        for message in page:
            yield _section(message).encode()


def _section(message: ChatMessage) -> str:
    note = f" ({message.finish_reason})" if message.finish_reason in {"cancelled", "interrupted", "error"} else ""
    text = f"\n## {_SAYS[message.role]}, {message.created_at}{note}\n"
    if message.content:
        text += f"\n{message.content}\n"
    for call in message.tool_calls or ():
        text += f"\n    {call.function.name}({call.function.arguments})\n"
    for citation in (message.citations or ()) if message.role == "assistant" else ():
        page = "" if citation.page is None else f", page {citation.page}"
        text += f"\n[{citation.index}] {citation.filename or 'no longer available'}{page}\n"
    return text
