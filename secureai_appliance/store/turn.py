"""Whose turn it is to use the writer's connection: first come, first served."""

from __future__ import annotations

import threading
from collections import deque


class _Place:
    """One thread's place in the queue. The gate is locked until the turn is given to it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.gate = threading.Lock()
        self.gate.acquire()


class Turn:
    """A lock that is handed over in order, and that says atomically whether anybody took it over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[_Place] = deque()
        self._owner: int | None = None

    def is_mine(self) -> bool:
        """Whether this very thread has the turn."""
        return self._owner == threading.get_ident()

    def take(self, patience: float) -> bool:
        """Wait for the turn, `patience` seconds at most. False: it was not reached, and the place is given up.

        When waiting is interrupted, the turn may have come all the same: ask `is_mine`.
        """
        with self._lock:
            if self._owner is None:
                self._owner = threading.get_ident()
                return True
            place = _Place()
            self._queue.append(place)
        try:
            if place.gate.acquire(timeout=patience):
                return True
        except BaseException:
            self._leave(place)
            raise
        # the turn may have come in the moment in which the patience ended: then it must be used
        return not self._leave(place)

    def hand_over(self) -> bool:
        """Give the turn to the first in the queue. False: nobody waits, and it is still this thread's."""
        with self._lock:
            return self._give_to_first()

    def give_up(self) -> None:
        """Give the turn to the first in the queue, or to whoever comes next."""
        with self._lock:
            if not self._give_to_first():
                self._owner = None

    def _give_to_first(self) -> bool:
        if not self._queue:
            return False
        place = self._queue.popleft()
        self._owner = place.thread
        place.gate.release()
        return True

    def _leave(self, place: _Place) -> bool:
        """Step out of the queue. False: the turn was given to this place already."""
        with self._lock:
            if place in self._queue:
                self._queue.remove(place)
                return True
            return False
