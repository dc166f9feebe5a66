"""Who waits for the engine, in which order, and for how long."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from secureai_appliance.inference.fairness import Ledger
from secureai_appliance.inference.sequence import Sequence

TYPICAL_TOKENS = 256
MAX_RETRY_AFTER = 600
_FIRST_GUESS = 0.05
_SMOOTHING = 0.1
_FORGETTING = 0.9
# beyond the bound, a user who has less than this part of it waiting is still let in, until twice the bound wait
_SMALL_PART = 8


class WaitingList:
    """Bounded, and in fair order: by priority, then by who was served least, each user's in order of arrival.

    Not thread-safe: the engine's lock guards it.
    """

    def __init__(self, bound: int, ledger: Ledger) -> None:
        self._bound = bound
        self._ledger = ledger
        self._sequences: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    def full(self, key: str, free_slots: int) -> bool:
        """Whether another one of `key` is too many.

        Those whom a free slot awaits don't count, for they only wait for the end of a step; nor do those who had
        started and lost their place.
        """
        waiting = [sequence.key for sequence in self._sequences if not sequence.started]
        room = self._bound + free_slots
        few = waiting.count(key) < max(1, self._bound // _SMALL_PART)
        return len(waiting) >= (2 * room if few else room)

    def add(self, sequence: Sequence) -> None:
        self._sequences.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        self._sequences.remove(sequence)

    def heads(self) -> list[Sequence]:
        """The next one of each user and priority, in the order in which they may start."""
        heads: dict[tuple[int, str], Sequence] = {}
        for sequence in self._sequences:
            place = (sequence.priority, sequence.key)
            if place not in heads or sequence.arrival < heads[place].arrival:
                heads[place] = sequence
        return sorted(heads.values(), key=lambda s: (s.priority, self._ledger.served(s.key), s.arrival))

    def in_order(self) -> list[Sequence]:
        """All, as they would start if each were then served a typical answer."""
        queues: dict[tuple[int, str], deque[Sequence]] = {}
        for sequence in sorted(self._sequences, key=lambda s: s.arrival):
            queues.setdefault((sequence.priority, sequence.key), deque()).append(sequence)
        turns = [(place[0], self._ledger.served(place[1]), queue[0].arrival, place) for place, queue in queues.items()]
        heapq.heapify(turns)
        order: list[Sequence] = []
        while turns:
            priority, served, _, place = heapq.heappop(turns)
            sequence = queues[place].popleft()
            order.append(sequence)
            if queues[place]:
                cost = sequence.missing + min(sequence.remaining, TYPICAL_TOKENS)
                served += cost / sequence.request.weight
                heapq.heappush(turns, (priority, served, queues[place][0].arrival, place))
        return order

    def take(self, wanted: Callable[[Sequence], bool]) -> list[Sequence]:
        """Remove and return those for which `wanted` holds."""
        taken = [sequence for sequence in self._sequences if wanted(sequence)]
        if taken:
            self._sequences = [sequence for sequence in self._sequences if sequence not in taken]
        return taken


class Pace:
    """How long answers hold their slots, from those that ended: reading the prompt, steps that others lengthen, all.

    Until some have, from the steps themselves.
    """

    def __init__(self) -> None:
        self._step = _FIRST_GUESS
        self._answers = self._tokens = self._seconds = 0.0

    @property
    def typical_tokens(self) -> float:
        """Of an answer."""
        return self._tokens / self._answers if self._answers else float(TYPICAL_TOKENS)

    @property
    def token_seconds(self) -> float:
        """In which a slot gives one token of an answer, its share of the prompt included."""
        return max(self._step, self._seconds / self._tokens) if self._tokens else self._step

    def observe_step(self, seconds: float) -> None:
        """A step in which answers got a token."""
        self._step += _SMOOTHING * (seconds - self._step)

    def observe_answer(self, tokens: int, seconds: float) -> None:
        """An answer came to its end, and held a slot for so long."""
        if tokens:
            self._answers = _FORGETTING * self._answers + 1
            self._tokens = _FORGETTING * self._tokens + tokens
            self._seconds = _FORGETTING * self._seconds + seconds

    def holds(self, sampled: int, remaining: int) -> float:
        """Seconds for which one is expected to hold its slot from now on; nobody longer than a typical answer takes."""
        left = self.typical_tokens - sampled
        if left < 1:
            left = self.typical_tokens  # longer than most: who knows
        return min(float(remaining), left) * self.token_seconds


def estimates(running: Iterable[float], waiting: Iterable[float], slots: int) -> list[float]:
    """Seconds until each of `waiting` starts, in order, and one that came after them.

    Both are the seconds for which each holds its slot. One starts when a slot is free.
    """
    ends = sorted(running)[:slots]
    ends = [0.0] * (slots - len(ends)) + ends  # in order, so it is a heap
    starts: list[float] = []
    for seconds in waiting:
        starts.append(ends[0])
        heapq.heapreplace(ends, ends[0] + seconds)
    return [*starts, ends[0]]


def retry_after(seconds: float) -> int:
    """The estimate as a whole number of seconds for `Retry-After`: at least 1."""
    return max(1, min(MAX_RETRY_AFTER, math.ceil(seconds)))
