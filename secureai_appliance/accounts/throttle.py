"""How often somebody may guess: budgets with a growing delay, none of which lets one person lock another out.

- Per account and address: 5 wrong tries, then each costs twice the delay of the one before, up to 15 minutes.
- Per address, over all accounts: 30, then up to 5 minutes.
- When an account has seen 100 wrong tries within an hour from wherever, an address has 1 try on it before its delay
  begins, not 5: many addresses guess slowly, and somebody new still gets a first try.
- A browser that has signed in to the account before has a budget of its own, and none of the others is asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import RateLimitExceeded

ENTRIES = 20_000
_MEMORY_SECONDS = 3600.0

Key = tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """`free` failures without a delay; then it doubles with each, from one second up to `longest` seconds."""

    free: int
    longest: float

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures."""
        beyond = failures - self.free
        return 0.0 if beyond < 0 else min(2.0 ** min(beyond, 30), self.longest)


PAIR = Budget(5, 900.0)
PAIR_UNDER_ATTACK = Budget(1, 900.0)
ADDRESS = Budget(30, 300.0)
DEVICE = Budget(10, 900.0)
ACCOUNT_UNDER_ATTACK = 100


@dataclass
class _Count:
    failures: int = 0
    until: float = 0.0
    since: float = 0.0


class Throttle:
    """Counts in memory, at most `ENTRIES` of them: the longest unused goes first. Safe to use from any thread."""

    def __init__(self, clock: Clock, entries: int = ENTRIES) -> None:
        self._clock = clock
        self._entries = entries
        self._lock = threading.Lock()
        self._counts: OrderedDict[Key, _Count] = OrderedDict()

    def spend(self, account: str, address: str, device: str | None = None) -> None:
        """Count a try as wrong before it is looked at, so that many at once are as many.

        Raises RateLimitExceeded, and counts nothing then, while a delay runs.
        """
        with self._lock:
            now = self._clock.monotonic()
            if device is not None:
                self._take(now, {("device", account, device): DEVICE})
                return
            everywhere = self._count(("account", account), now)
            pair = PAIR_UNDER_ATTACK if everywhere.failures >= ACCOUNT_UNDER_ATTACK else PAIR
            self._take(now, {("pair", account, address): pair, ("address", address): ADDRESS})
            everywhere.failures += 1

    def succeeded(self, account: str, address: str, device: str | None = None) -> None:
        """The last try was right: it does not count, and the wrong ones before it from there are forgotten."""
        with self._lock:
            if device is not None:
                self._counts.pop(("device", account, device), None)
                return
            self._counts.pop(("pair", account, address), None)
            for key in (("address", address), ("account", account)):
                count = self._counts.get(key)
                if count is not None and count.failures:
                    count.failures -= 1
                    count.until = 0.0

    def _take(self, now: float, budgets: dict[Key, Budget]) -> None:
        counts = [(self._count(key, now), budget) for key, budget in budgets.items()]
        wait = max(count.until - now for count, _ in counts)
        if wait > 0:
            seconds = int(wait) + 1
            raise RateLimitExceeded(f"Too many tries. Try again in {_words(seconds)}.", retry_after=seconds)
        for count, budget in counts:
            count.failures += 1
            count.until = now + budget.delay(count.failures)

    def _count(self, key: Key, now: float) -> _Count:
        count = self._counts.get(key)
        if count is None or (now - count.since > _MEMORY_SECONDS and count.until <= now):
            count = self._counts[key] = _Count(since=now)
        self._counts.move_to_end(key)
        while len(self._counts) > self._entries:
            self._counts.popitem(last=False)
        return count


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
