"""Webhooks for tests: receivers on the loopback interface, and a courier that tells them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.network import Door
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import events, webhooks
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.courier import Courier
from secureai_appliance.governance.events import EventType, UserCreated
from secureai_appliance.governance.webhooks import WebhookCreate, WebhookCreated
from secureai_appliance.store import Store
from tests.support.running import PATIENCE
from tests.support.scripted import Heard, Line, Script, Scripted, scripted

SEALER = Sealer(b"k" * 32)


class Receiver:
    """A receiver that answers each delivery with the next of `statuses`, 200 when there is none left."""

    def __init__(self, server: Scripted) -> None:
        self.url = f"{server.url}/hook"
        self.got: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        server.script = self._answer

    def next(self) -> Heard:
        """The next delivery; waits for it."""
        return self.got.get(timeout=PATIENCE)

    def _answer(self, heard: Heard, line: Line) -> None:
        status = self.statuses.pop(0) if self.statuses else 200
        self.got.put(heard)
        line.answer(status, b"noted", self.headers)


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A well-behaved receiver."""
    with scripted(lambda heard, line: None) as server:
        yield Receiver(server)


@contextmanager
def receiving(script: Script) -> Iterator[str]:
    """The address of a receiver that does what `script` says."""
    with scripted(script) as server:
        yield f"{server.url}/hook"


class Post:
    """A courier whose turns a test gives it, and what it needs."""

    def __init__(self, store: Store, clock: Clock, door: Door | None = None, **options: Any) -> None:
        self.store = store
        self.sealer = SEALER
        self.courier = Courier(store, SEALER, clock, door or Door(), **options)
        self.courier.free = self._freed
        self._ended = threading.Semaphore(0)

    def hook(self, url: str, *wanted: EventType) -> WebhookCreated:
        body = WebhookCreate(url=url, events=list(wanted) or ["user.created"])
        with self.store.transaction() as tx:
            return webhooks.create(tx, SEALER, SYSTEM, body)

    def emit(self, name: str) -> None:
        with self.store.transaction() as tx:
            events.emit(tx, UserCreated(user_id=name, email=f"{name}@example.org", role="user"))

    def turn(self, attempts: int = 1) -> None:
        """Have the courier look once, and wait until so many attempts have ended."""
        self.courier.step()
        self.wait(attempts)

    def wait(self, attempts: int) -> None:
        """Until so many further attempts have ended."""
        for _ in range(attempts):
            assert self._ended.acquire(timeout=PATIENCE)

    def show(self, webhook_id: str) -> webhooks.Webhook:
        with self.store.read() as db:
            return webhooks.get(db, webhook_id)

    def _freed(self) -> None:
        self._ended.release()
