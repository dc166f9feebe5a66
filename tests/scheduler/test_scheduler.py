"""The scheduler under a clock that is moved by hand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.core.jobs import Job, JobState
from secureai_appliance.scheduler.scheduler import STUCK_SECONDS, Scheduler
from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.running import PATIENCE

DAY = 24 * 3600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    opened = Store.open(tmp_path / "jobs.db", clock=clock, synchronous="OFF")
    yield opened
    opened.close()


class Counted:
    """A job that counts its steps; `steps` to do in one run, `failing` while it is set."""

    def __init__(self, steps: int = 1) -> None:
        self.ran = 0
        self.steps = steps
        self.failing: Exception | None = None

    def __call__(self) -> bool:
        self.ran += 1
        if self.failing is not None:
            raise self.failing
        return self.ran % self.steps != 0


def pass_time(scheduler: Scheduler, clock: FakeClock, seconds: int) -> None:
    """A loop each second, as the thread does."""
    for _ in range(seconds):
        clock.advance(1.0)
        scheduler.loop(clock.now())


def state(scheduler: Scheduler, name: str) -> JobState:
    return next(found for found in scheduler.states() if found.name == name)


def test_a_job_runs_at_its_period_and_without_drift(store: Store, clock: FakeClock) -> None:
    slow = Counted()

    def take_long() -> bool:
        clock.advance(3.0)
        return slow()

    scheduler = Scheduler(store, clock, [Job("slow", 10.0, take_long)])
    for _ in range(100):
        wait = scheduler.loop(clock.now())
        assert 0 < wait <= 7.0
        clock.advance(wait)
    assert slow.ran == 100
    assert clock.now() == FakeClock().now() + 1000.0


def test_what_was_missed_while_the_machine_slept_is_made_up_for_once(store: Store, clock: FakeClock) -> None:
    job = Counted()
    scheduler = Scheduler(store, clock, [Job("often", 10.0, job)])
    scheduler.loop(clock.now())
    clock.advance(DAY + 4.0)
    scheduler.loop(clock.now())
    assert job.ran == 2
    assert scheduler.loop(clock.now()) == 6.0


def test_a_clock_that_is_set_back_puts_no_job_off_for_longer_than_its_period(store: Store, clock: FakeClock) -> None:
    job = Counted()
    scheduler = Scheduler(store, clock, [Job("often", 10.0, job)])
    scheduler.loop(clock.now())
    clock.set(clock.now() - DAY)
    assert scheduler.loop(clock.now()) == 10.0
    pass_time(scheduler, clock, 10)
    assert job.ran == 2


def test_a_job_with_more_to_do_lets_the_others_have_their_turn(store: Store, clock: FakeClock) -> None:
    order: list[str] = []

    def long() -> bool:
        clock.advance(0.3)
        order.append("long")
        return order.count("long") < 6

    scheduler = Scheduler(
        store, clock, [Job("long", 60.0, long, budget=0.5), Job("short", 60.0, lambda: order.append("short"))]
    )
    while scheduler.loop(clock.now()) == 0:
        pass
    assert order == ["long", "long", "short", "long", "long", "long", "long"]


@pytest.mark.parametrize("failure", [ServiceUnavailable("The disk is full."), ZeroDivisionError("secret")])
def test_a_failing_job_is_tried_again_later_each_time_and_holds_nobody_up(
    store: Store, clock: FakeClock, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Counted(), Counted()
    bad.failing = failure
    scheduler = Scheduler(store, clock, [Job("bad", 100.0, bad), Job("good", 1.0, good)])
    tried: list[int] = []
    for second in range(400):
        before = bad.ran
        scheduler.loop(clock.now())
        if bad.ran > before:
            tried.append(second)
        clock.advance(1.0)
    assert tried == [0, 5, 15, 35, 75, 155, 255, 355]
    assert good.ran == 400
    shown = state(scheduler, "bad")
    assert shown.failures == 8
    assert shown.failure in {"The disk is full.", "A defect (ZeroDivisionError): see the log."}
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == (8 if isinstance(failure, ServiceUnavailable) else 4)

    bad.failing = None
    pass_time(scheduler, clock, 100)
    assert state(scheduler, "bad").failures == 0


def test_a_daily_job_goes_on_where_the_last_start_left_it(store: Store, clock: FakeClock) -> None:
    job = Counted()
    Scheduler(store, clock, [Job("daily", DAY, job)]).loop(clock.now())
    clock.advance(DAY / 2)
    later = Scheduler(store, clock, [Job("daily", DAY, job)])
    assert later.loop(clock.now()) == DAY / 2
    assert state(later, "daily").runs == 1
    clock.advance(DAY)
    assert Scheduler(store, clock, [Job("daily", DAY, job)]).loop(clock.now()) > 0
    assert job.ran == 2


def test_the_first_run_waits_until_the_start_is_over(store: Store, clock: FakeClock) -> None:
    job = Counted()
    scheduler = Scheduler(store, clock, [Job("heavy", DAY, job, first=600.0)])
    assert scheduler.loop(clock.now()) == 600.0
    assert job.ran == 0


def test_a_woken_job_runs_at_once_and_keeps_its_time(store: Store, clock: FakeClock) -> None:
    job = Counted()
    scheduler = Scheduler(store, clock, [Job("hourly", 3600.0, job)])
    scheduler.loop(clock.now())
    clock.advance(10.0)
    scheduler.wake("hourly")
    assert scheduler.loop(clock.now()) == 3590.0
    assert job.ran == 2


def test_what_the_turns_took_is_told(store: Store, clock: FakeClock) -> None:
    heard: list[tuple[str, float, bool]] = []
    scheduler = Scheduler(store, clock, [Job("a", 60.0, lambda: clock.advance(2.0))], lambda *told: heard.append(told))
    scheduler.loop(clock.now())
    assert heard == [("a", 2.0, True)]
    assert state(scheduler, "a").last_ms == 2000


def test_a_job_that_hangs_is_named_and_the_thread_ends_after_it(store: Store, clock: FakeClock) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    scheduler = Scheduler(store, clock, [Job("stuck", 60.0, hang)])
    assert scheduler.trouble() == ""
    scheduler.start()
    assert entered.wait(PATIENCE)
    assert scheduler.trouble() == ""
    assert state(scheduler, "stuck").running
    clock.advance(STUCK_SECONDS + 1)
    assert "'stuck' has been running for 61 seconds" in scheduler.trouble()
    assert not scheduler.stop(timeout=0.0)
    go_on.set()
    assert scheduler.stop(PATIENCE)


def test_the_thread_runs_what_is_woken(store: Store, clock: FakeClock) -> None:
    ran = threading.Semaphore(0)
    scheduler = Scheduler(store, clock, [Job("woken", DAY, ran.release)])
    scheduler.start()
    for _ in range(3):
        assert ran.acquire(timeout=PATIENCE)
        scheduler.wake("woken")
    assert scheduler.stop(PATIENCE)


def test_a_stop_does_not_wait_for_all_the_steps(store: Store, clock: FakeClock) -> None:
    steps: list[int] = []
    stop: list[Callable[[], object]] = []

    def endless() -> bool:
        steps.append(1)
        if len(steps) == 3:
            stop[0]()
        return True

    scheduler = Scheduler(store, clock, [Job("endless", 60.0, endless)])
    stop.append(lambda: scheduler.stop(timeout=0.0))
    scheduler.loop(clock.now())
    assert len(steps) == 3
