"""Time as an argument: rooms take a `Clock`, tests pass one that stands still."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Wall-clock and monotonic time, both in seconds."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(seconds: float) -> str:
    """Unix seconds as `2026-03-15T10:30:00Z`: UTC, whole seconds, as every time in the API."""
    return _rfc3339(int(seconds))


# a page of a list has dozens, and the pages that are looked at hold the same ones
@lru_cache(maxsize=4096)
def _rfc3339(seconds: int) -> str:
    # strftime takes twice as long
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}Z"


def parse_rfc3339(text: str) -> int:
    """Unix seconds of a date (`2026-03-01`, midnight UTC) or a date-time with offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())
