from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from secureai_appliance.client import Client
from secureai_appliance.terminal_chat import converse


class Scripted:
    """A client whose model answers with these pieces, and remembers what it was asked."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces
        self.asked: list[list[dict[str, str]]] = []

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(list(body["messages"]))
        for piece in self._pieces:
            yield {"choices": [{"delta": {"content": piece}}]}
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        yield {"choices": []}


def test_each_line_is_asked_with_all_that_was_said_before() -> None:
    client, shown = Scripted("Hel", "lo"), list[str]()
    converse(cast(Client, client), "m", ["one", "", "two"], shown.append)
    assert "".join(shown) == "Hello\nHello\n"
    assert [[message["content"] for message in asked] for asked in client.asked] == [["one"], ["one", "Hello", "two"]]


def test_what_a_model_writes_does_not_steer_the_terminal() -> None:
    shown = list[str]()
    converse(cast(Client, Scripted("a\x1b[2Jb\r\n")), "m", ["x"], shown.append)
    assert "".join(shown) == "a�[2Jb�\n\n"
