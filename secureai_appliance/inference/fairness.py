"""Whose turn it is: decisions about users' shares, without llama.cpp.

A user, here, is a fairness key. Each has been served so many tokens; who has been served least comes first. Nobody is
stopped for having had much while nobody else waits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from secureai_appliance.inference.sequence import Sequence


class Ledger:
    """Tokens served to each key, divided by its weight."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}

    def served(self, key: str) -> float:
        return self._served.get(key, 0.0)

    def arrive(self, key: str, present: Collection[str]) -> None:
        """A request of `key` comes while those of `present` run or wait.

        One who was away is put level with the least served of them: absence is not saved up. Keys that are not present
        any more are forgotten, so that there are never more than have requests.
        """
        if key in present:
            return
        floor = min((self.served(other) for other in present), default=0.0)
        last = self.served(key)
        self._served = {other: self.served(other) for other in present}
        # not less than it had, or leaving and coming back at once would pay
        self._served[key] = max(floor, last) if present else 0.0

    def charge(self, key: str, tokens: int, weight: float) -> None:
        self._served[key] = self.served(key) + tokens / weight


@dataclass(frozen=True)
class Room:
    """What is to be shared (`slots`, `kv_tokens`), and what of it is free."""

    slots: int
    kv_tokens: int
    free_slots: int
    free_kv: int


def victims(
    running: Iterable[Sequence], waiting: Iterable[Sequence], wanted: Sequence, need: int, room: Room
) -> list[Sequence] | None:
    """Who pauses so that `wanted` can start with `need` KV tokens; None when it has no claim, or that wouldn't do.

    Work of lower priority always makes room. Of the same priority, a user makes room who holds more than
    ceil(slots / users), or more than his part of the KV in several requests; his newest goes first. Nobody's only
    request pauses for another of the same priority, so two can't push each other out in turn.
    """
    left = list(running)
    rivals = [s for s in [*left, *waiting] if s.priority <= wanted.priority]
    users = len({s.key for s in rivals} | {wanted.key})
    free_slots, free_kv, chosen = room.free_slots, room.free_kv, list[Sequence]()
    while free_slots < 1 or free_kv < need:
        victim = _next_victim(left, wanted, need, math.ceil(room.slots / users), room.kv_tokens / users)
        if victim is None:
            return None
        left.remove(victim)
        chosen.append(victim)
        free_slots += 1
        free_kv += victim.reserved
    return chosen


def _next_victim(
    running: list[Sequence], wanted: Sequence, need: int, most_slots: int, most_kv: float
) -> Sequence | None:
    held, kv = _holdings(running)
    # with a claim to more than its part of the KV, one who paused could push out the one that it paused for
    may_claim = held[wanted.key] == 0 or (held[wanted.key] < most_slots and kv[wanted.key] + need <= most_kv)

    def pauses(sequence: Sequence) -> bool:
        if sequence.priority != wanted.priority:
            return sequence.priority > wanted.priority
        over = held[sequence.key] > most_slots or (held[sequence.key] > 1 and kv[sequence.key] > most_kv)
        return may_claim and sequence.key != wanted.key and over

    candidates = [sequence for sequence in running if pauses(sequence)]
    return max(candidates, key=lambda s: (s.priority, held[s.key], s.arrival), default=None)


def yields_cells(running: Iterable[Sequence], kv_tokens: int) -> Sequence:
    """Who pauses when an answer grows and no KV is left: the newest, of those who hold more than their part if any."""
    sequences = list(running)
    held, kv = _holdings(sequences)
    part = kv_tokens / len(held)
    return max(sequences, key=lambda s: (s.priority, held[s.key] > 1 and kv[s.key] > part, s.arrival))


def _holdings(running: Iterable[Sequence]) -> tuple[Counter[str], Counter[str]]:
    """Slots and KV tokens of each key."""
    held, kv = Counter[str](), Counter[str]()
    for sequence in running:
        held[sequence.key] += 1
        kv[sequence.key] += sequence.reserved
    return held, kv
