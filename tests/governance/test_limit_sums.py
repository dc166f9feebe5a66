"""Promises 18 to 20 whatever comes: windows hold exactly what was used in them, at every moment, over restarts too."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from secureai_appliance.governance.limits import COMPLETIONS, REQUESTS, TOKENS, WINDOWS, Lease, Limits, Refused, Window
from secureai_appliance.governance.tiers import Bounds
from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.rows import write_user

USER = "usr-ada"
BOUNDS = Bounds(
    requests_per_minute=9,
    requests_per_day=60,
    concurrent_requests=5,
    completions_per_minute=6,
    completions_per_day=40,
    concurrent_completions=4,
    tokens_per_minute=1000,
    tokens_per_day=20_000,
)
NEAR_MIDNIGHT = 1_770_000_000 // 86_400 * 86_400 + 86_400 - 200


class Open:
    """A request that runs, and what the bookkeeping beside it knows of it."""

    def __init__(self, lease: Lease, counted: list[tuple[str, int]]) -> None:
        self.lease = lease
        self.counted = counted
        self.completion = len(counted) > len(REQUESTS)
        self.taken: list[tuple[int, int, int]] = []


class Books:
    """The same in the plainest way: one sum for each window and place in time."""

    def __init__(self, clock: FakeClock, limits: Limits) -> None:
        self.clock = clock
        self.limits = limits
        self.sums: Counter[tuple[str, int]] = Counter()
        self.running: list[Open] = []

    def place(self, window: Window) -> tuple[str, int]:
        return window.name, window.index(self.clock.now())

    def admit(self, *, completion: bool) -> None:
        try:
            lease = self.limits.admit(USER, BOUNDS, completion=completion)
        except Refused:
            return
        counted = [self.place(window) for window in ((*REQUESTS, *COMPLETIONS) if completion else REQUESTS)]
        self.sums.update(counted)
        self.running.append(Open(lease, counted))

    def reserve(self, one: Open, prompt: int, most: int) -> None:
        try:
            room = one.lease.reserve(prompt, 1, most)
        except Refused:
            return
        granted = min(prompt + most, 1000, prompt + room) if room else min(prompt, 1000)
        for window in TOKENS:
            self.sums[self.place(window)] += granted
        minute, day = (window.index(self.clock.now()) for window in TOKENS)
        one.taken.append((minute, day, granted))

    def settle(self, one: Open, used: int) -> None:
        one.lease.settle(used)
        for minute, day, granted in one.taken:
            kept = min(granted, used)
            used -= kept
            self.sums["tokens-minute", minute] -= granted - kept
            self.sums["tokens-day", day] -= granted - kept
        one.taken = []
        for window in TOKENS:
            self.sums[self.place(window)] += used

    def give_back(self, one: Open) -> None:
        one.lease.give_back()
        self.sums.subtract(one.counted)
        one.counted = []

    def end(self, one: Open, used: int) -> None:
        self.settle(one, used)
        one.lease.release()
        self.running.remove(one)

    def agree(self) -> None:
        now = {standing.name: standing.used for standing in self.limits.standings(USER, BOUNDS)}
        assert now == {window.name: self.sums[self.place(window)] for window in WINDOWS}
        assert self.limits.running(USER) == (len(self.running), sum(one.completion for one in self.running))


@pytest.mark.parametrize("seed", range(10))
def test_every_window_holds_what_was_used_in_it(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    write_user(store, "ada")
    clock = FakeClock(NEAR_MIDNIGHT)
    books = Books(clock, Limits(clock))
    for _ in range(300):
        one = chance.choice(books.running) if books.running else None
        step = chance.random()
        if step < 0.3 or one is None:
            books.admit(completion=chance.random() < 0.6)
        elif step < 0.55:
            books.reserve(one, chance.randint(0, 200), chance.randint(0, 400))
        elif step < 0.65:
            books.settle(one, chance.randint(0, 500))
        elif step < 0.7:
            books.give_back(one)
        else:
            books.end(one, chance.randint(0, 500))
        if chance.random() < 0.2:
            clock.advance(chance.random() * 40)
        if not books.running and chance.random() < 0.3:
            books.limits.persist(store)
            books.limits = Limits(clock)
            with store.read() as db:
                books.limits.restore(db)
        books.agree()
