"""A running appliance, in this process, on a real port, and plain HTTP to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.appliance import Appliance
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.settings import Settings
from tests.support.limits import lift_limits

PATIENCE = 60.0  # seconds until a test that waits has failed; none is spent when it passes


@dataclass
class Response:
    """An answer read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of each server-sent event; comments are left out."""
        parts = [part for part in self.body.decode().split("\n\n") if part]
        return [part.removeprefix("data: ") for part in parts if part.startswith("data: ")]


@dataclass
class Running:
    """An appliance that answers, and the first administrator's key."""

    appliance: Appliance
    key: str

    @property
    def base_url(self) -> str:
        return f"{self.appliance.address}/api/v1"

    @property
    def port(self) -> int:
        port = urlsplit(self.appliance.address).port
        assert port is not None
        return port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """One request on its own connection. `body` is sent as JSON, bytes as they are; `key` None: without one."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect()
        try:
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def chat(self, text: str, **fields: Any) -> Response:
        """A chat completion of one user message."""
        request = {"model": "gpt-4", "messages": [{"role": "user", "content": text}], "max_tokens": 16, **fields}
        return self.ask("POST", "/api/v1/chat/completions", request)

    def make_user(self, email: str, role: str = "user", scopes: list[str] | None = None) -> str:
        """A new user's key."""
        with self.appliance.store.transaction() as tx:
            user = users.create(tx, email=email, name=email, role=role)
            caller = users.caller_of(tx, user.id)
            return keys.create(tx, caller, KeyCreate(name="test", scopes=scopes)).key


@contextmanager
def running(folder: Path, *, key: str = "", **options: Any) -> Iterator[Running]:
    """Start an appliance on a free port and a new folder, or on one whose `key` is known; stop it at the end."""
    # one thread: tests share the machine, and threads that wait for each other are slow then
    settings = Settings(**{"data": str(folder), "port": 0, "threads": 1, **options})
    appliance = Appliance(settings, SystemClock())
    assert key or appliance.first_start is not None
    lift_limits(appliance.store, appliance.configs)
    with appliance.store.transaction() as tx:
        # a title that comes when the model has time is a change that no test of something else counts on
        appliance.configs.put(tx, SYSTEM, "chats.titles_by_model", False)
    appliance.start()
    try:
        yield Running(appliance, key or (appliance.first_start.key if appliance.first_start else ""))
    finally:
        appliance.stop()
