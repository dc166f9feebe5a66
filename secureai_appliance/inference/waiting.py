"""Who waits for the engine, in which order, and for how long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from secureai_appliance.inference.sequence import Sequence

TYPICAL_TOKENS = 256
MAX_RETRY_AFTER = 600


class WaitingList:
    """First come, first served, bounded. Not thread-safe: the engine's lock guards it."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._sequences: deque[Sequence] = deque()

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    def full(self, free_slots: int) -> bool:
        """Those whom a free slot awaits don't count: they only wait for the end of a step."""
        return len(self._sequences) >= self._bound + free_slots

    def add(self, sequence: Sequence) -> None:
        self._sequences.append(sequence)

    def put_back(self, sequence: Sequence) -> None:
        """One that had started and lost its place goes first again; it doesn't count against the bound."""
        self._sequences.appendleft(sequence)

    def first(self) -> Sequence | None:
        return self._sequences[0] if self._sequences else None

    def take_first(self) -> Sequence:
        return self._sequences.popleft()

    def take(self, wanted: Callable[[Sequence], bool]) -> list[Sequence]:
        """Remove and return those for which `wanted` holds."""
        taken = [sequence for sequence in self._sequences if wanted(sequence)]
        if taken:
            self._sequences = deque(sequence for sequence in self._sequences if sequence not in taken)
        return taken


def estimate(position: int, remaining: Iterable[int], slots: int, step_seconds: float) -> float:
    """Seconds until the request at `position` (1 is next) starts.

    `remaining` holds what each running sequence may still sample, in tokens; nobody is assumed to go on for more than a
    typical answer. The n-th waiting one follows the n-th that ends; from then on a slot is free once per answer.
    """
    ends = sorted(min(tokens, TYPICAL_TOKENS) for tokens in remaining)
    if len(ends) < slots:
        ends = [0] * (slots - len(ends)) + ends
    rounds, place = divmod(position - 1, slots)
    return (ends[place] + rounds * TYPICAL_TOKENS) * step_seconds


def retry_after(seconds: float) -> int:
    """The estimate as a whole number of seconds for `Retry-After`: at least 1."""
    return max(1, min(MAX_RETRY_AFTER, round(seconds)))
