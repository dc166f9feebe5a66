"""Threads that write: each is known to wait in the writer's queue before the next one starts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from secureai_appliance.store import Store


class _Announcing(deque[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.arrivals = threading.Semaphore(0)

    def append(self, place: Any) -> None:
        super().append(place)
        self.arrivals.release()


class Queue:
    """Start writers while the test holds the turn (inside `with store.transaction()`), then `join` them after it."""

    def __init__(self, store: Store) -> None:
        self._places = store._writer._turn._queue = _Announcing()
        self._threads: list[threading.Thread] = []
        self.outcomes: list[BaseException | None] = []

    def start(self, write: Callable[[], None]) -> None:
        """Run `write` on a thread of its own; returns when it waits for its turn."""
        number = len(self.outcomes)
        self.outcomes.append(None)

        def work() -> None:
            try:
                write()
            except BaseException as error:  # noqa: BLE001 (it is the outcome)
                self.outcomes[number] = error

        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()
        assert self._places.arrivals.acquire(timeout=10)

    def join(self) -> list[BaseException | None]:
        """What each writer raised, in the order in which they were started."""
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
        return self.outcomes
