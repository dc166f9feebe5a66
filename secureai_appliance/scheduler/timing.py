"""When a job is due: arithmetic of the wall clock, which may jump either way."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_RETRY = 5.0
_LONGEST_RETRY = 3600.0


@dataclass
class Timing:
    """One job's place in time. All times are Unix seconds."""

    every: float
    due: float
    failures: int = 0
    """In a row, up to now."""

    def is_due(self, now: float) -> bool:
        """Whether to run now. A clock that was set back must not put the job off for longer than its period."""
        if self.due - now > max(self.every, _LONGEST_RETRY if self.failures else 0.0):
            self.due = now + self.every
        return now >= self.due

    def ran(self, now: float, *, more: bool) -> None:
        """It went well; with `more` to do it is due at once. The grid of earlier runs is kept: no drift.

        One that was woken early is due when it would have been.
        """
        self.failures = 0
        if more:
            self.due = now
        elif now >= self.due:
            self.due += (int((now - self.due) // self.every) + 1) * self.every

    def failed(self, now: float) -> None:
        """It did not: the next try comes later each time, but never later than an ordinary run or an hour."""
        self.failures += 1
        pause = _FIRST_RETRY * 2.0 ** min(self.failures - 1, 20)
        self.due = now + min(pause, max(self.every, _FIRST_RETRY), _LONGEST_RETRY)
