"""The scheduler: `loop(now)` runs what is due; a thread calls it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure
from secureai_appliance.core.jobs import Job, JobState
from secureai_appliance.scheduler import records
from secureai_appliance.scheduler.records import Record
from secureai_appliance.scheduler.timing import Timing
from secureai_appliance.store import Store

LONGEST_SLEEP = 1.0
"""Seconds: a clock that is set forward, or a suspended machine, is noticed that soon."""
STUCK_SECONDS = 60.0
"""A job that is busy for so long has stopped all others: `/readyz` says so."""

log = logging.getLogger(__name__)
Observe = Callable[[str, float, bool], None]


class Scheduler:
    """Runs jobs one after the other in one thread. `loop` is all there is to it; the rest may be called anywhere."""

    def __init__(
        self, store: Store, clock: Clock, jobs: Iterable[Job], observe: Observe = lambda name, seconds, well: None
    ) -> None:
        """`observe` hears of each turn of a job: its name, its seconds, whether it went well."""
        self._store = store
        self._clock = clock
        self._observe = observe
        now = clock.now()
        with store.read() as db:
            kept = records.load(db)
        self._entries = {job.name: _Entry.begin(job, kept.get(job.name), now) for job in jobs}
        self._condition = threading.Condition()
        self._woken: set[str] = set()
        self._stopping = False
        self._running: _Entry | None = None
        self._beat = clock.monotonic()
        self._thread = threading.Thread(target=self._live, name="scheduler", daemon=True)

    def loop(self, now: float) -> float:
        """Run each job that is due at `now` (Unix seconds) for one turn; the seconds until one is due again."""
        started = self._clock.monotonic()
        with self._condition:
            woken, self._woken = self._woken, set()
        for entry in self._entries.values():
            if self._stopping:
                break
            if entry.job.name in woken or entry.timing.is_due(now):
                self._take_turn(entry, now)
        self._beat = self._clock.monotonic()
        passed = now + self._beat - started
        return max(0.0, min((entry.timing.due for entry in self._entries.values()), default=passed + 1) - passed)

    def wake(self, name: str) -> None:
        """Have a job run at once instead of when it is due. From any thread."""
        with self._condition:
            self._woken.add(name)
            self._condition.notify_all()

    def start(self) -> None:
        """Begin; jobs run in a thread of their own from now on."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End after the step that runs now; whether that was within `timeout` seconds. It may not have been started."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def states(self) -> list[JobState]:
        """All jobs, by name."""
        running = self._running
        return [
            records.shown(name, entry.job.every, entry.record, running=entry is running)
            for name, entry in sorted(self._entries.items())
        ]

    def trouble(self) -> str:
        """A plain sentence when jobs are no longer run; empty when all is well."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stopping:
            return "The scheduler has ended: see the log, and start the service again."
        quiet = self._clock.monotonic() - self._beat
        running = self._running
        if running is not None and quiet > STUCK_SECONDS:
            return f"The job '{running.job.name}' has been running for {quiet:.0f} seconds; no other runs meanwhile."
        return ""

    def _live(self) -> None:
        while True:
            wait = min(self.loop(self._clock.now()), LONGEST_SLEEP)
            with self._condition:
                if self._stopping:
                    return
                if not self._woken and wait > 0:
                    self._condition.wait(wait)

    def _take_turn(self, entry: _Entry, now: float) -> None:
        started = self._beat = self._clock.monotonic()
        self._running = entry
        failure = None
        more = False
        try:
            more = self._steps(entry.job, started)
        except Exception as error:  # noqa: BLE001 (a job of one room must not end those of the others)
            failure = error
        finally:
            self._running = None
        seconds = self._clock.monotonic() - started
        self._observe(entry.job.name, seconds, failure is None)
        changed = entry.ended(now, seconds, more, failure)
        if changed or entry.job.every >= records.KEPT_FROM:
            self._keep(entry)

    def _steps(self, job: Job, started: float) -> bool:
        while job.run():
            if self._stopping or self._clock.monotonic() - started >= job.budget:
                return True
        return False

    def _keep(self, entry: _Entry) -> None:
        try:
            records.keep(self._store, entry.job.name, entry.record)
        except Failure as failure:
            # the job itself is done, and its time is known here; only the next start would not know
            log.warning("the times of the job '%s' could not be stored: %s", entry.job.name, failure.message)


class _Entry:
    """A job, when it is due, and what became of it."""

    def __init__(self, job: Job, timing: Timing, record: Record) -> None:
        self.job = job
        self.timing = timing
        self.record = record

    @classmethod
    def begin(cls, job: Job, kept: Record | None, now: float) -> _Entry:
        due = now + job.first
        if kept is not None and job.every >= records.KEPT_FROM:
            due = max(due, min(kept.next_at, now + job.every))
        record = kept or Record(due)
        record.next_at = due
        return cls(job, Timing(job.every, due), record)

    def ended(self, now: float, seconds: float, more: bool, failure: Exception | None) -> bool:
        """Note how a turn went; whether it went otherwise than the one before."""
        before = self.record.failures
        if failure is None:
            self.timing.ran(now, more=more)
        else:
            self.timing.failed(now)
            self._tell(failure)
        self.record = Record(
            next_at=self.timing.due,
            last_at=now,
            last_ms=round(seconds * 1000),
            runs=self.record.runs + 1,
            failures=self.timing.failures,
            failure=self.record.failure if failure is None else _in_words(failure),
        )
        return bool(before) != bool(self.timing.failures)

    def _tell(self, failure: Exception) -> None:
        count = self.timing.failures
        if isinstance(failure, Failure):
            log.warning("the job '%s' failed (%d times in a row): %s", self.job.name, count, failure.message)
        elif count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th … time: the same traceback each second tells nothing
            log.error("the job '%s' failed (%d times in a row)", self.job.name, count, exc_info=failure)


def _in_words(failure: Exception) -> str:
    """For the administrator: our own failures in their words, a defect by its kind alone (its text is in the log)."""
    return failure.message if isinstance(failure, Failure) else f"A defect ({type(failure).__name__}): see the log."
