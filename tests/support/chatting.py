"""Users and their chats on a running appliance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.running import Response, Running

CHATS = "/api/v1/chats"
GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 8}


class Person:
    """A user with their own key, and their chats."""

    made = 0

    def __init__(self, api: Running) -> None:
        Person.made += 1
        self.api = api
        self.key = api.make_user(f"chats-{Person.made}@example.org")
        self.id = str(self.ask("GET", "/api/v1/me").json["id"])

    def ask(self, method: str, path: str, body: Any = None, **given: Any) -> Response:
        return self.api.ask(method, path, body, key=self.key, **given)

    def say(self, text: str, **fields: Any) -> Response:
        sent = {"model": "gpt-4", "messages": [{"role": "user", "content": text}], **GREEDY, **fields}
        return self.ask("POST", "/api/v1/chat/completions", sent)

    def start(self, text: str, **fields: Any) -> str:
        answer = self.say(text, store=True, **fields)
        assert answer.status == 200, answer.body
        return str(answer.json["chat_id"])

    def chat(self, chat_id: str) -> Any:
        return self.ask("GET", f"{CHATS}/{chat_id}").json

    def list(self, query: str = "") -> Any:
        return self.ask("GET", f"{CHATS}?{query}").json


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask until it does; each time is a request of its own."""
    assert any(holds() for _ in range(3000))
