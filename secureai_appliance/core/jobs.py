"""What a room wants done every now and then. Rooms declare jobs, `appliance` collects them, the scheduler runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True)
class Job:
    """Work that the scheduler's one thread does in small steps.

    `run` does one step (well under a second: everything else waits) and returns whether more is to be done at once.
    Steps follow each other until `budget` seconds are used up; then the other jobs have their turn first.
    """

    name: str
    """As an administrator reads it: `expired sessions`."""
    every: float
    """Seconds from one run to the next, by the wall clock; what was missed meanwhile is made up for once."""
    run: Callable[[], bool | None]
    budget: float = 0.5
    """Seconds for each turn."""
    first: float = 0.0
    """Seconds after the start before the first run, unless an earlier start left a later time."""


class JobState(msgspec.Struct, kw_only=True):
    """A job as the administrator sees it. `failures` are those in a row; `failure` says what went wrong last."""

    name: str
    every_seconds: float
    running: bool
    next_run_at: str
    last_run_at: str | None
    last_ms: int | None
    runs: int
    failures: int
    failure: str | None
