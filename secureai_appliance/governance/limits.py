"""Limits per user: fixed UTC minutes and days, and how much at once. All in memory, exact under any number of threads.

A request is admitted by all of its windows or by none. Counters are written to the file every few seconds and at the
end, and read at the start: a restart forgets nothing, a kill what was counted since the last `persist`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from secureai_appliance.core.clock import Clock
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.governance.tiers import MOST, Bounds
from secureai_appliance.store import Reader, Store

MINUTE, DAY = 60, 24 * 3600
OWNED = (Owned("limit_counters", "user_id", "delete"),)
PERSIST_SECONDS = 10.0
"""How often counters are written: what a kill -9 may forget."""
_STEP_BACK = 60
"""Seconds by which a clock that is corrected may go back without opening a window anew."""

Unit = Literal["requests", "completions", "tokens"]


@dataclass(frozen=True)
class Window:
    """What is counted for how long; `name` stands in the headers and in the file."""

    name: str
    unit: Unit
    seconds: int
    bound: Callable[[Bounds], int | None]

    def index(self, now: float) -> int:
        return int(now // self.seconds)


REQUESTS = (
    Window("requests-minute", "requests", MINUTE, lambda bounds: bounds.requests_per_minute),
    Window("requests-day", "requests", DAY, lambda bounds: bounds.requests_per_day),
)
TOKENS = (
    Window("tokens-minute", "tokens", MINUTE, lambda bounds: bounds.tokens_per_minute),
    Window("tokens-day", "tokens", DAY, lambda bounds: bounds.tokens_per_day),
)
COMPLETIONS = (
    Window("completions-minute", "completions", MINUTE, lambda bounds: bounds.completions_per_minute),
    Window("completions-day", "completions", DAY, lambda bounds: bounds.completions_per_day),
)
WINDOWS = (*REQUESTS, *COMPLETIONS, *TOKENS)
_NAMED = {window.name: window for window in WINDOWS}


Held = tuple[tuple[Window, int], ...]
"""Windows that something was counted in, with their index then."""


@dataclass(frozen=True)
class Standing:
    """How one window stands, for the headers. `limit` None: there is none. `reset` in Unix seconds."""

    name: str
    limit: int | None
    used: int
    remaining: int
    reset: int
    seconds: int
    now: float

    @property
    def retry_after(self) -> int:
        """Whole seconds after which the window is open again, at least 1."""
        return max(1, math.ceil(self.reset - self.now))

    def headers(self) -> dict[str, str]:
        """Both families of headers."""
        limit = MOST if self.limit is None else self.limit
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset),
            "RateLimit": f'"{self.name}";r={self.remaining};t={self.retry_after}',
            "RateLimit-Policy": f'"{self.name}";q={limit};w={self.seconds}',
        }


class Refused(Exception):
    """No place in a window. `standing` is the window that is closed for longest, `first` whether it is news."""

    def __init__(self, standing: Standing, first: bool) -> None:
        super().__init__(standing.name)
        self.standing = standing
        self.first = first


@dataclass
class _Count:
    index: int
    used: int = 0
    told: bool = False


@dataclass
class _User:
    counts: dict[str, _Count] = field(default_factory=dict)
    requests: int = 0
    completions: int = 0


class Limits:
    """The counters of all users. Safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._users: dict[str, _User] = {}
        self._changed: set[str] = set()
        self._latest = 0.0

    def admit(self, user_id: str, bounds: Bounds, *, completion: bool, tokens: bool = False) -> Lease:
        """Count a request and hold its place until the lease is released. Raises Refused, and counts nothing then.

        `tokens`: it has a model read something, as every completion has.
        """
        windows = (*REQUESTS, *COMPLETIONS) if completion else REQUESTS
        looked_at = (*windows, *TOKENS) if completion or tokens else windows
        with self._lock:
            now = self._now()
            user = self._users.setdefault(user_id, _User())
            counts = [self._count(user, window, now) for window in looked_at]
            places = list(zip(looked_at, counts, strict=True))
            self._refuse(user, bounds, now, completion, places)
            for window, count in places:
                count.used += window.unit != "tokens"
            user.requests += 1
            user.completions += completion
            self._changed.add(user_id)
        held = tuple((window, count.index) for window, count in places[: len(windows)])
        return Lease(self, user_id, bounds, looked_at, held)

    def standings(self, user_id: str, bounds: Bounds) -> list[Standing]:
        """How every window of a user stands now."""
        with self._lock:
            now = self._now()
            user = self._users.get(user_id, _User())
            return [self._standing(user, window, bounds, now) for window in WINDOWS]

    def running(self, user_id: str) -> tuple[int, int]:
        """How many requests of a user are being answered, and how many of them are completions."""
        with self._lock:
            user = self._users.get(user_id, _User())
            return user.requests, user.completions

    # --- kept over a restart

    def persist(self, store: Store) -> None:
        """Write what has changed since the last time, if anything has. Raises ServiceUnavailable, and forgets nothing
        then.
        """
        if not self.changed:
            return
        with self._lock:
            now = self._now()
            changed, self._changed = self._changed, set()
            rows = [
                (user_id, window.name, count.index, count.used)
                for user_id in changed
                for window in WINDOWS
                if (user := self._users.get(user_id)) is not None
                and (count := user.counts.get(window.name)) is not None
                and count.index == window.index(now)
            ]
            self._forget_idle(now)
        try:
            # the commit too may fail, so that all of it stands here
            with store.transaction() as tx:
                for user_id, name, index, used in rows:
                    # a user who is gone by now has no counters
                    tx.run(
                        "INSERT OR REPLACE INTO limit_counters (user_id, window, place, used)"
                        " SELECT id, ?, ?, ? FROM users WHERE id = ?",
                        *(name, index, used, user_id),
                    )
        except BaseException:
            with self._lock:
                self._changed |= changed
            raise

    @property
    def changed(self) -> bool:
        """Whether there is anything to persist."""
        return bool(self._changed)

    def restore(self, db: Reader) -> None:
        """At start: what the last run counted in windows that are still open."""
        with self._lock:
            now = self._now()
            for user_id, name, index, used in db.all("SELECT user_id, window, place, used FROM limit_counters"):
                window = _NAMED.get(name)
                if window is not None and index == window.index(now):
                    self._users.setdefault(user_id, _User()).counts[name] = _Count(index, used)

    # --- for leases

    def _release(self, user_id: str, completion: bool) -> None:
        with self._lock:
            user = self._users[user_id]
            user.requests -= 1
            user.completions -= completion

    def _give_back(self, user_id: str, held: Held) -> None:
        with self._lock:
            _take_back(self._users[user_id], held, 1)
            self._changed.add(user_id)

    def _reserve(self, user_id: str, bounds: Bounds, least: int, wanted: int) -> tuple[int, Held]:
        with self._lock:
            now = self._now()
            user = self._users[user_id]
            counts = [self._count(user, window, now) for window in TOKENS]
            granted = wanted
            closed: list[Standing] = []
            for window, count in zip(TOKENS, counts, strict=True):
                bound = window.bound(bounds)
                if bound is None:
                    continue
                if bound - count.used < least:
                    closed.append(self._standing(user, window, bounds, now))
                granted = min(granted, bound - count.used)
            if closed:
                raise self._refusal(user, closed)
            for count in counts:
                count.used += granted
            self._changed.add(user_id)
            held = tuple((window, count.index) for window, count in zip(TOKENS, counts, strict=True))
        return granted, held

    def _settle(self, user_id: str, reserved: list[tuple[Held, int]], used: int) -> None:
        """Count `used` tokens in place of what was reserved: each in the window that it was taken from."""
        with self._lock:
            user, now = self._users[user_id], self._now()
            for held, amount in reserved:
                kept = min(amount, used)
                used -= kept
                _take_back(user, held, amount - kept)
            for window in TOKENS:
                self._count(user, window, now).used += used
            self._changed.add(user_id)

    def _nearest(self, user_id: str, bounds: Bounds, windows: tuple[Window, ...]) -> Standing:
        """The applying window with the smallest remaining share (ruling 25)."""
        with self._lock:
            now = self._now()
            user = self._users[user_id]
            standings = [self._standing(user, window, bounds, now) for window in windows]
        return min(standings, key=lambda one: 1.0 if one.limit is None else one.remaining / one.limit)

    # --- with the lock held

    def _now(self) -> float:
        now = self._clock.now()
        if self._latest - _STEP_BACK < now < self._latest:
            return self._latest
        self._latest = now
        return now

    def _count(self, user: _User, window: Window, now: float) -> _Count:
        index = window.index(now)
        count = user.counts.get(window.name)
        if count is None or count.index != index:
            count = user.counts[window.name] = _Count(index)
        return count

    def _refuse(
        self, user: _User, bounds: Bounds, now: float, completion: bool, counts: list[tuple[Window, _Count]]
    ) -> None:
        closed = [
            self._standing(user, window, bounds, now)
            for window, count in counts
            if (bound := window.bound(bounds)) is not None and count.used >= bound
        ]
        at_once = [("concurrent-requests", user.requests, bounds.concurrent_requests)]
        if completion:
            at_once.append(("concurrent-completions", user.completions, bounds.concurrent_completions))
        real = self._clock.now()
        closed += [
            Standing(name, bound, used, 0, int(real) + 1, 1, int(real))
            for name, used, bound in at_once
            if bound is not None and used >= bound
        ]
        if closed:
            raise self._refusal(user, closed)

    def _refusal(self, user: _User, closed: list[Standing]) -> Refused:
        longest = max(closed, key=lambda one: one.reset)
        count = user.counts.get(longest.name)
        first = count is not None and not count.told
        if count is not None:
            count.told = True
        return Refused(longest, first)

    def _standing(self, user: _User, window: Window, bounds: Bounds, now: float) -> Standing:
        count = user.counts.get(window.name)
        used = count.used if count is not None and count.index == window.index(now) else 0
        bound = window.bound(bounds)
        remaining = MOST if bound is None else max(0, bound - used)
        reset = (window.index(now) + 1) * window.seconds
        # retry_after counts from the time that the client's clock shows too
        return Standing(window.name, bound, used, remaining, reset, window.seconds, self._clock.now())

    def _forget_idle(self, now: float) -> None:
        idle = [
            user_id
            for user_id, user in self._users.items()
            if not user.requests and all(_NAMED[name].index(now) != count.index for name, count in user.counts.items())
        ]
        for user_id in idle:
            del self._users[user_id]
        self._changed -= set(idle)


def _take_back(user: _User, held: Held, amount: int) -> None:
    """Take `amount` from windows that are still the ones it was counted in."""
    for window, index in held:
        count = user.counts.get(window.name)
        if count is not None and count.index == index:
            count.used = max(0, count.used - amount)


class Lease:
    """A request's place. `release` on every way out; more than once is harmless."""

    def __init__(self, limits: Limits, user_id: str, bounds: Bounds, applying: tuple[Window, ...], held: Held) -> None:
        """`applying`: the windows that it is looked at in; `held`: those that it is counted in."""
        self._limits = limits
        self._user_id = user_id
        self._bounds = bounds
        self._applying = applying
        self._completion = COMPLETIONS[0] in applying
        self._held = held
        self._reserved: list[tuple[Held, int]] = []
        self._open = True

    def nearest(self) -> Standing:
        """What the answer's headers tell."""
        return self._limits._nearest(self._user_id, self._bounds, self._applying)

    def give_back(self) -> None:
        """The request cost nothing (a 304, a 503, an answer given again): it counts in no window. At most once."""
        held, self._held = self._held, ()
        self._limits._give_back(self._user_id, held)

    def reserve(self, prompt: int, least: int, most: int) -> int:
        """Take room for `prompt` tokens and an answer; how long the answer may be, at least `least`, at most `most`.

        What can never fit is taken for as much as fits into an empty window. Raises Refused.
        """
        smallest = min((bound for window in TOKENS if (bound := window.bound(self._bounds)) is not None), default=MOST)
        granted, held = self._limits._reserve(
            self._user_id, self._bounds, min(prompt + least, smallest), min(prompt + most, smallest)
        )
        self._reserved.append((held, granted))
        return max(0, granted - prompt)

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited at all."""
        return any(window.bound(self._bounds) is not None for window in TOKENS)

    def settle(self, used: int) -> None:
        """Tokens that were really used: what was reserved beyond is given back, what was not reserved is counted."""
        reserved, self._reserved = self._reserved, []
        if reserved or used:
            self._limits._settle(self._user_id, reserved, used)

    def release(self) -> None:
        """The request is over."""
        if self._open:
            self._open = False
            self._limits._release(self._user_id, self._completion)
