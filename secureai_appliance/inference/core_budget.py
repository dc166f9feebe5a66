"""Who may use how many cores now: chat first, then embeddings that somebody waits for, then indexing.

llama.cpp's threads wait for each other at every operation, so one thread more than there are cores slows all of them
down. A chat model therefore asks before each step how many threads it may take, and whoever else computes asks for a
core for each piece of work, which should last some tenths of a second at most.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from secureai_appliance.core.clock import Clock, SystemClock
from secureai_appliance.inference.cores import usable_cores
from secureai_appliance.inference.generation import Priority

# of the cores, the part that others than chat get while chat goes on; at least one
_SHARE = 4
# who has had a core for a second while chat went on rests for so many: people wait for chat, nobody for an index
_REST = 3.0
# where there is but one core, everybody rests as long as he worked
_REST_ON_ONE_CORE = 1.0
# so long after something that takes no time, as searches do, indexing leaves a core free: more will come
_ALERT = 1.0
# a step that is longer than this is not waited for: there is always progress
_LONGEST_WAIT = 0.25


@dataclass(eq=False)
class _Ticket:
    priority: Priority
    owner: object
    arrived: float
    granted: bool = False


class CoreBudget:
    """The cores of this process. Every method may be called from any thread."""

    def __init__(self, cores: int | None = None, clock: Clock | None = None) -> None:
        """`cores` None: those that this process may use."""
        self.cores = cores or usable_cores()
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._chats: dict[ChatShare, int] = {}
        self._computing = 0
        self._waiting: list[_Ticket] = []
        self._rested_at: dict[Priority, float] = {}
        self._alert_until = float("-inf")

    def chat(self) -> ChatShare:
        """A chat model's part."""
        return ChatShare(self)

    @contextmanager
    def core(self, priority: Priority = Priority.INTERACTIVE, owner: object = None) -> Iterator[None]:
        """One core for one piece of work; waits for it, beside chat at most for some tenths of a second and the rest
        of what has to rest. `Priority.INDEXING` is for what nobody waits for.
        """
        ticket = self._take(priority, owner)
        begun = self._clock.monotonic()
        try:
            yield
        finally:
            self._give_back(ticket.priority, begun)

    @contextmanager
    def core_at_once(self) -> Iterator[None]:
        """A core for some milliseconds, without waiting for it: whoever computes on it shares it for so long."""
        with self._changed:
            self._computing += 1
        try:
            yield
        finally:
            with self._changed:
                self._computing -= 1
                self._alert_until = self._clock.monotonic() + _ALERT
                self._grant()

    def hurry(self, owner: object) -> None:
        """Somebody waits for what `owner` computes next: what it waits with is not indexing any more."""
        with self._changed:
            for ticket in self._waiting:
                if ticket.owner is owner:
                    ticket.priority = Priority.INTERACTIVE
            self._grant()

    def _take(self, priority: Priority, owner: object) -> _Ticket:
        with self._changed:
            ticket = _Ticket(priority, owner, self._clock.monotonic())
            self._waiting.append(ticket)
            while True:
                self._grant()
                if ticket.granted:
                    return ticket
                self._changed.wait(self._patience(ticket))

    def _give_back(self, priority: Priority, begun: float) -> None:
        with self._changed:
            now = self._clock.monotonic()
            self._computing -= 1
            if self._chats:
                self._rested_at[priority] = now + self._rest(priority) * (now - begun)
            self._grant()

    def _rest(self, priority: Priority) -> float:
        if priority is Priority.INDEXING:
            return _REST
        return _REST_ON_ONE_CORE if self.cores == 1 else 0.0

    def _patience(self, ticket: _Ticket) -> float:
        """Seconds until the ticket must be looked at again, whatever happens."""
        if not self._chats:
            return _LONGEST_WAIT
        due = max(ticket.arrived + _LONGEST_WAIT, self._rested_at.get(ticket.priority, 0.0))
        return max(0.001, min(_LONGEST_WAIT, due - self._clock.monotonic()))

    # --- the lock is held

    def _grant(self, *, between_steps: bool = False) -> None:
        """Give cores to those who wait, as far as there are any."""
        now = self._clock.monotonic()
        granted = False
        for ticket in sorted(self._waiting, key=lambda one: one.priority):
            if self._may_compute(ticket, now, between_steps):
                self._waiting.remove(ticket)
                self._computing += 1
                ticket.granted = granted = True
        if granted:
            self._changed.notify_all()

    def _may_compute(self, ticket: _Ticket, now: float, between_steps: bool) -> bool:
        if not self._chats:
            alert = ticket.priority is Priority.INDEXING and now < self._alert_until
            return self._computing < (max(1, self.cores - 1) if alert else self.cores)
        if self._computing >= self._most_beside_chat() or now < self._rested_at.get(ticket.priority, 0.0):
            return False
        taken = sum(self._chats.values()) + self._computing
        return between_steps or taken < self.cores or now - ticket.arrived >= _LONGEST_WAIT

    def _most_beside_chat(self) -> int:
        return max(1, self.cores // _SHARE)

    def _next_step(self, share: ChatShare, wanted: int) -> int:
        with self._changed:
            self._chats.setdefault(share, 0)
            if self._waiting:
                self._grant(between_steps=True)
            left = max(1, self.cores - self._computing)
            threads = self._chats[share] = min(wanted, max(1, left // len(self._chats)))
            return threads

    def _uses(self, share: ChatShare, threads: int) -> None:
        with self._changed:
            self._chats[share] = threads
            if self._waiting:
                self._grant()

    def _idle(self, share: ChatShare) -> None:
        with self._changed:
            if self._chats.pop(share, None) is not None:
                self._rested_at.clear()
                self._grant()


class ChatShare:
    """One chat model's part of the cores; belongs to the thread that computes."""

    def __init__(self, budget: CoreBudget) -> None:
        self._budget = budget
        self.cores = budget.cores

    def next_step(self, wanted: int) -> int:
        """How many threads, `wanted` at most, the next step may take; until `idle` or the next call they are taken."""
        return self._budget._next_step(self, wanted)

    def uses(self, threads: int) -> None:
        """The step takes so many and no more."""
        self._budget._uses(self, threads)

    def idle(self) -> None:
        """There is nothing to compute for now."""
        self._budget._idle(self)
