from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from secureai_appliance.client import Client
from secureai_appliance.terminal_chat import Conversation


class Scripted:
    """A client whose model answers with these pieces, and remembers what it was asked."""

    def __init__(self, *pieces: str, chat_id: str | None = None) -> None:
        self._pieces = pieces
        self._chat_id = chat_id
        self.asked: list[dict[str, Any]] = []

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(body | {"messages": list(body["messages"])})
        kept = {"chat_id": self._chat_id} if self._chat_id else {}
        for piece in self._pieces:
            yield {"choices": [{"delta": {"content": piece}}], **kept}
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}], **kept}
        yield {"choices": [], **kept}

    @property
    def said(self) -> list[list[str]]:
        return [[message["content"] for message in asked["messages"]] for asked in self.asked]


def talk(client: Scripted, *lines: str, **options: Any) -> str:
    shown = list[str]()
    Conversation(cast(Client, client), **options).converse(lines, shown.append)
    return "".join(shown)


def test_each_line_is_asked_with_all_that_was_said_before() -> None:
    client = Scripted("Hel", "lo")
    assert talk(client, "one", "", "two", model="m") == "Hello\nHello\n"
    assert client.said == [["one"], ["one", "Hello", "two"]]
    assert client.asked[0] == {"model": "m", "messages": [{"role": "user", "content": "one"}], "stream": True}


def test_what_a_model_writes_does_not_steer_the_terminal() -> None:
    assert talk(Scripted("a\x1b[2Jb\r\n"), "x") == "a�[2Jb�\n\n"


def test_an_assistant_brings_its_model() -> None:
    client = Scripted("Hello")
    talk(client, "one", assistant="parts")
    talk(client, "two", assistant="parts", model="m")
    assert [(asked.get("model"), asked["assistant_id"]) for asked in client.asked] == [(None, "parts"), ("m", "parts")]


def test_what_the_server_keeps_is_not_said_again() -> None:
    client = Scripted("Hello", chat_id="chat-1")
    talk(client, "one", "two", store=True)
    assert client.said == [["one"], ["two"]]
    assert [(asked.get("store"), asked.get("chat_id")) for asked in client.asked] == [(True, None), (None, "chat-1")]


def test_answers_from_documents_name_their_sources() -> None:
    cited = {"index": 2, "cited": True, "filename": "manual\x1b.pdf", "page": 3}
    unused = {"index": 1, "cited": False, "filename": "notes.txt", "page": None}

    class Sourced(Scripted):
        def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
            yield from super().stream(path, body)
            coverage = {"complete": False, "share": 0.23}
            yield {"choices": [], "citations": [unused, cited], "retrieval": {"coverage": coverage}}

    client, shown = Sourced("So it is [2]."), list[str]()
    conversation = Conversation(cast(Client, client))
    conversation.bases = ["manuals"]
    conversation.converse(["one"], shown.append)
    assert client.asked[0]["knowledge_base_ids"] == ["manuals"]
    assert "".join(shown) == "So it is [2].\n  [2] manual�.pdf, page 3\n  (from 23% of the text)\n"
