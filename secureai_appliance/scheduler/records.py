"""What is kept of the jobs: a daily one must not start anew with each start of the program."""

from __future__ import annotations

import msgspec

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.jobs import JobState
from secureai_appliance.store import Reader, Store

KEPT_FROM = 600.0
"""Seconds of a period from which on a job's times are stored: shorter ones would write without need."""


class Record(msgspec.Struct):
    """One row of `jobs`. `next_at` and `last_at` are Unix seconds, `last_ms` is how long the last run took."""

    next_at: float
    last_at: float | None = None
    last_ms: int | None = None
    runs: int = 0
    failures: int = 0
    failure: str | None = None


def load(db: Reader) -> dict[str, Record]:
    """What earlier starts left."""
    rows = db.all("SELECT name, next_at, last_at, last_ms, runs, failures, failure FROM jobs")
    return {name: Record(*rest) for name, *rest in rows}


def keep(store: Store, name: str, record: Record) -> None:
    """Store one job's record. Raises ServiceUnavailable."""
    with store.transaction() as tx:
        tx.run(
            "INSERT INTO jobs (name, next_at, last_at, last_ms, runs, failures, failure) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at, last_at = excluded.last_at,"
            " last_ms = excluded.last_ms, runs = excluded.runs, failures = excluded.failures,"
            " failure = excluded.failure",
            *(name, int(record.next_at), None if record.last_at is None else int(record.last_at)),
            *(record.last_ms, record.runs, record.failures, record.failure),
        )


def shown(name: str, every: float, record: Record, *, running: bool) -> JobState:
    """The job as the API shows it."""
    return JobState(
        name=name,
        every_seconds=every,
        running=running,
        next_run_at=rfc3339(record.next_at),
        last_run_at=None if record.last_at is None else rfc3339(record.last_at),
        last_ms=record.last_ms,
        runs=record.runs,
        failures=record.failures,
        failure=record.failure,
    )
