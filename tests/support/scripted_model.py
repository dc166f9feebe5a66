"""A model at another server whose answers a test makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from secureai_appliance.core.ids import new_id
from tests.support.scripted import Heard, Line

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
Say = Callable[[dict[str, Any]], dict[str, Any]]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": new_id("call"), "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def calls(*made: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(made)}


def text(said: str) -> dict[str, Any]:
    return {"role": "assistant", "content": said}


class Model:
    """A model whose answers a test makes; `asked` has every request."""

    def __init__(self) -> None:
        self.say: Say = lambda _: text("Hello.")
        self.asked: list[dict[str, Any]] = []
        self.letters = 0
        """In a stream, text comes in pieces of so many; 0: all at once."""

    def __call__(self, heard: Heard, line: Line) -> None:
        if heard.method == "GET":
            line.answer_json(200, {"data": []})
            return
        body = heard.json
        self.asked.append(body)
        message = self.say(body)
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
        if not body.get("stream"):
            line.answer_json(200, {"choices": [{**choice, "message": message}], "usage": USAGE})
            return
        parts = [{**made, "index": at} for at, made in enumerate(message.get("tool_calls") or [])]
        said = message["content"]
        step = self.letters or len(said or "") or 1
        pieces = [said[at : at + step] for at in range(0, len(said), step)] if said else [said]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": pieces[0]}]
        deltas += [{"content": piece} for piece in pieces[1:]]
        deltas[-1] |= {"tool_calls": parts} if parts else {}
        line.events(
            *({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
            {"choices": [{**choice, "delta": {}}]},
            {"choices": [], "usage": USAGE},
            "[DONE]",
        )


def last(body: dict[str, Any]) -> dict[str, Any]:
    """The newest message."""
    newest_message: dict[str, Any] = body["messages"][-1]
    return newest_message
