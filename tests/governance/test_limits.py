"""Promises 18 to 20: exact, all or nothing, and nothing is forgotten."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance.limits import Lease, Limits, Refused
from secureai_appliance.governance.tiers import Bounds
from secureai_appliance.store import Store, Transaction
from tests.support.clock import FakeClock
from tests.support.rows import write_user

BEGIN = 1_770_000_000 // 86_400 * 86_400
FREE = Bounds(
    requests_per_minute=10,
    requests_per_day=500,
    concurrent_requests=2,
    completions_per_minute=5,
    completions_per_day=200,
    concurrent_completions=1,
)


def ask(limits: Limits, bounds: Bounds, *, completion: bool = False) -> None:
    """A request from its beginning to its end."""
    limits.admit("usr-ada", bounds, completion=completion).release()


def used(limits: Limits, bounds: Bounds) -> dict[str, int]:
    return {standing.name: standing.used for standing in limits.standings("usr-ada", bounds)}


@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_exactly_as_many_of_200_threads_pass_as_the_window_allows(rounds: int) -> None:
    clock = FakeClock(BEGIN)
    limits = Limits(clock)
    bounds = Bounds(requests_per_minute=37, completions_per_minute=21)
    for _ in range(rounds):
        begin = threading.Barrier(200)
        passed: list[str] = []

        def run(number: int, begin: threading.Barrier = begin, passed: list[str] = passed) -> None:
            completion = number % 2 == 0
            begin.wait()
            try:
                ask(limits, bounds, completion=completion)
            except Refused:
                return
            passed.append("completion" if completion else "request")

        threads = [threading.Thread(target=run, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(passed) == 37
        assert passed.count("completion") <= 21
        clock.advance(60)


def test_a_request_that_one_window_refuses_counts_in_none() -> None:
    limits = Limits(FakeClock(BEGIN))
    for _ in range(5):
        ask(limits, FREE, completion=True)
    before = used(limits, FREE)
    for _ in range(20):
        with pytest.raises(Refused) as caught:
            ask(limits, FREE, completion=True)
        assert caught.value.standing.name == "completions-minute"
    assert used(limits, FREE) == before
    for _ in range(5):
        ask(limits, FREE)
    with pytest.raises(Refused) as caught:
        ask(limits, FREE)
    assert caught.value.standing.name == "requests-minute"


@pytest.mark.parametrize("seed", range(20))
def test_waiting_as_long_as_told_always_succeeds_and_the_figures_agree(seed: int) -> None:
    rng = random.Random(seed)
    clock = FakeClock(BEGIN + rng.random() * 86_400)
    limits = Limits(clock)
    bounds = Bounds(requests_per_minute=rng.randint(1, 5), requests_per_day=rng.randint(1, 9), completions_per_minute=1)
    for _ in range(60):
        completion = rng.random() < 0.5
        try:
            ask(limits, bounds, completion=completion)
        except Refused as refused:
            standing = refused.standing
            headers = standing.headers()
            assert int(headers["X-RateLimit-Reset"]) == int(clock.now()) + standing.retry_after
            assert headers["X-RateLimit-Remaining"] == "0"
            assert headers["RateLimit"] == f'"{standing.name}";r=0;t={standing.retry_after}'
            clock.advance(standing.retry_after)
            ask(limits, bounds, completion=completion)
        clock.advance(rng.random())


def test_at_once_is_bounded_and_the_place_is_free_again_however_often_it_is_released() -> None:
    limits = Limits(FakeClock(BEGIN + 0.4))
    first = limits.admit("usr-ada", FREE, completion=True)
    with pytest.raises(Refused) as caught:
        limits.admit("usr-ada", FREE, completion=True)
    standing = caught.value.standing
    assert (standing.name, standing.limit, standing.remaining, standing.retry_after, standing.reset) == (
        "concurrent-completions", 1, 0, 1, BEGIN + 1,
    )  # fmt: skip
    second = limits.admit("usr-ada", FREE, completion=False)
    with pytest.raises(Refused):
        limits.admit("usr-ada", FREE, completion=False)
    for lease in (first, first, second):
        lease.release()
    assert limits.running("usr-ada") == (0, 0)
    limits.admit("usr-bob", FREE, completion=True)


def test_the_window_with_the_smallest_remaining_share_is_told() -> None:
    limits = Limits(FakeClock(BEGIN))
    lease = limits.admit("usr-ada", FREE, completion=True)
    assert lease.nearest().headers() == {
        "X-RateLimit-Limit": "5",
        "X-RateLimit-Remaining": "4",
        "X-RateLimit-Reset": str(BEGIN + 60),
        "RateLimit": '"completions-minute";r=4;t=60',
        "RateLimit-Policy": '"completions-minute";q=5;w=60',
    }
    assert lease.nearest().name == "completions-minute"
    free = limits.admit("usr-bob", Bounds(), completion=False)
    assert free.nearest().headers()["X-RateLimit-Limit"] == "2147483647"


def test_what_is_given_back_counts_no_more_and_only_once() -> None:
    clock = FakeClock(BEGIN)
    limits = Limits(clock)
    lease = limits.admit("usr-ada", FREE, completion=False)
    limits.admit("usr-ada", FREE, completion=False)
    lease.give_back()
    lease.give_back()
    assert used(limits, FREE)["requests-minute"] == 1
    late = Limits(clock).admit("usr-ada", FREE, completion=False)
    clock.advance(60)
    late.give_back()


def test_a_clock_that_is_put_back_a_little_opens_no_window_anew() -> None:
    clock = FakeClock(BEGIN + 60)
    limits = Limits(clock)
    bounds = Bounds(requests_per_minute=1)
    ask(limits, bounds)
    clock.set(BEGIN + 59.5)
    with pytest.raises(Refused) as caught:
        ask(limits, bounds)
    clock.set(BEGIN + 59.5 + caught.value.standing.retry_after)
    ask(limits, bounds)
    clock.set(BEGIN - 86_400)
    ask(limits, bounds)


def test_only_the_first_refusal_of_a_window_is_news() -> None:
    clock = FakeClock(BEGIN)
    limits = Limits(clock)
    bounds = Bounds(requests_per_minute=1)
    news = []
    for _ in range(3):
        ask(limits, bounds)
        for _ in range(3):
            with pytest.raises(Refused) as caught:
                ask(limits, bounds)
            news.append(caught.value.first)
        clock.advance(60)
    assert news == [True, False, False] * 3


def test_counters_survive_a_restart_and_closed_windows_do_not(store: Store) -> None:
    write_user(store, "ada")
    clock = FakeClock(BEGIN)
    first = Limits(clock)
    for _ in range(4):
        ask(first, FREE, completion=True)
    first.admit("usr-gone", FREE, completion=False)
    first.persist(store)
    assert not first.changed
    second = Limits(clock)
    with store.read() as db:
        second.restore(db)
    assert used(second, FREE) == used(first, FREE)
    ask(second, FREE, completion=True)
    with pytest.raises(Refused):
        ask(second, FREE, completion=True)
    clock.advance(60)
    third = Limits(clock)
    with store.read() as db:
        third.restore(db)
    assert used(third, FREE) == {
        "requests-minute": 0, "requests-day": 4, "completions-minute": 0, "completions-day": 4,
        "tokens-minute": 0, "tokens-day": 0,
    }  # fmt: skip


class Refusing:
    """A store whose commits fail."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._store.transaction() as tx:
            yield tx
            raise ServiceUnavailable("The disk is full.")


def test_what_could_not_be_committed_is_written_the_next_time(store: Store) -> None:
    write_user(store, "ada")
    limits = Limits(FakeClock(BEGIN))
    ask(limits, FREE)
    with pytest.raises(ServiceUnavailable):
        limits.persist(cast("Store", Refusing(store)))
    assert limits.changed
    limits.persist(store)
    with store.read() as db:
        assert db.value("SELECT used FROM limit_counters WHERE window = 'requests-minute'") == 1


def test_users_who_are_gone_for_a_day_take_no_memory(store: Store) -> None:
    clock = FakeClock(BEGIN)
    limits = Limits(clock)
    for number in range(100):
        limits.admit(f"usr-{number}", FREE, completion=False).release()
    held = limits.admit("usr-held", FREE, completion=False)
    clock.advance(2 * 86_400)
    limits.persist(store)
    assert set(limits._users) == {"usr-held"}
    held.release()


TOKENS = Bounds(tokens_per_minute=1000, tokens_per_day=5000)


def reserved(limits: Limits, prompt: int, least: int, most: int) -> tuple[Lease, int]:
    lease = limits.admit("usr-ada", TOKENS, completion=True)
    return lease, lease.reserve(prompt, least, most)


def test_tokens_are_taken_before_and_given_back_after() -> None:
    limits = Limits(FakeClock(BEGIN))
    lease, room = reserved(limits, 100, 1, 500)
    assert (room, used(limits, TOKENS)["tokens-minute"]) == (500, 600)
    other, rest = reserved(limits, 100, 50, 500)
    assert rest == 300
    with pytest.raises(Refused) as caught:
        reserved(limits, 1, 0, 0)
    assert caught.value.standing.name == "tokens-minute"
    lease.settle(150)
    other.settle(120)
    assert used(limits, TOKENS)["tokens-day"] == 270


def test_tokens_never_pass_their_limit_under_200_threads() -> None:
    limits = Limits(FakeClock(BEGIN))
    begin = threading.Barrier(200)
    granted: list[int] = []

    def run() -> None:
        begin.wait()
        try:
            granted.append(reserved(limits, 10, 5, 30)[1] + 10)
        except Refused:
            return

    threads = [threading.Thread(target=run) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == used(limits, TOKENS)["tokens-minute"] <= 1000
    assert sum(granted) > 985


def test_what_is_larger_than_an_empty_window_takes_all_of_it() -> None:
    clock = FakeClock(BEGIN)
    limits = Limits(clock)
    reserved(limits, 100, 2000, 2000)
    with pytest.raises(Refused) as caught:
        reserved(limits, 100, 2000, 2000)
    clock.advance(caught.value.standing.retry_after)
    assert reserved(limits, 100, 2000, 2000)[1] == 900
    clock.advance(86_400)
    assert reserved(limits, 3000, 10, 10)[1] == 0


def test_rounds_in_two_minutes_give_back_no_more_than_each_has_taken() -> None:
    clock = FakeClock(BEGIN)
    limits = Limits(clock)
    lease, _ = reserved(limits, 100, 1, 500)
    clock.advance(60)
    lease.reserve(100, 1, 200)
    other, _ = reserved(limits, 100, 1, 300)
    other.settle(400)
    # 900 were taken in two minutes, 50 used: of this minute only its own 300 come back
    lease.settle(50)
    assert (used(limits, TOKENS)["tokens-minute"], used(limits, TOKENS)["tokens-day"]) == (400, 450)


def test_a_round_that_is_settled_leaves_room_for_the_next() -> None:
    limits = Limits(FakeClock(BEGIN))
    lease, _ = reserved(limits, 100, 800, 800)
    with pytest.raises(Refused):
        lease.reserve(100, 800, 800)
    lease.settle(120)
    assert lease.reserve(100, 700, 700) == 700
    lease.settle(1200)
    # what was used beyond the reservation counts too
    assert used(limits, TOKENS)["tokens-minute"] == 1320
