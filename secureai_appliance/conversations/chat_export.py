"""A chat as a file, made while it is sent: in pages, so that no transaction reads for long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from secureai_appliance.conversations import chat_messages, chats
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.conversations.chats import Chat
from secureai_appliance.store import Store

Format = Literal["json", "markdown"]
_AT_ONCE = 100
_SAYS = {"user": "User", "assistant": "Assistant", "system": "System", "developer": "Developer", "tool": "Tool"}


def pieces(store: Store, owner_id: str, chat_id: str, kind: Format) -> Iterator[bytes]:
    """The chat with the messages that it has now. Raises NotFound before the first piece."""
    with store.read() as db:
        chat = chats.get(db, owner_id, chat_id)
        place = chats.place(db, chat_id)
    return _json(store, chat, place) if kind == "json" else _markdown(store, chat, place)


def _pages(store: Store, chat: Chat, place: int) -> Iterator[list[ChatMessage]]:
    for number in range(0, chat.message_count, _AT_ONCE):
        with store.read() as db:
            yield chat_messages.after(db, place, number, min(_AT_ONCE, chat.message_count - number))


def _json(store: Store, chat: Chat, place: int) -> Iterator[bytes]:
    encode = msgspec.json.encode
    yield encode(chat)[:-1] + b',"messages":['
    first = True
    for page in _pages(store, chat, place):
        for message in page:
            yield (b"" if first else b",") + encode(message)
            first = False
    yield b"]}"


def _markdown(store: Store, chat: Chat, place: int) -> Iterator[bytes]:
    yield f"# {chat.title}\n\n{chat.created_at}\n".encode()
    for page in _pages(store, chat, place):
        for message in page:
            yield _section(message).encode()


def _section(message: ChatMessage) -> str:
    note = f" ({message.finish_reason})" if message.finish_reason in {"cancelled", "interrupted", "error"} else ""
    text = f"\n## {_SAYS[message.role]}, {message.created_at}{note}\n"
    if message.content:
        text += f"\n{message.content}\n"
    for call in message.tool_calls or ():
        text += f"\n    {call.function.name}({call.function.arguments})\n"
    for citation in message.citations or ():
        page = "" if citation.page is None else f", page {citation.page}"
        text += f"\n[{citation.index}] {citation.filename}{page}\n"
    return text
