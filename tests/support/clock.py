"""A clock for tests."""

from __future__ import annotations


class FakeClock:
    """Stands still until it is moved. Both readings move together."""

    def __init__(self, start: float = 1_770_000_000.0) -> None:
        self._now = start
        self._monotonic = 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._monotonic += seconds

    def set(self, seconds: float) -> None:
        """Set the wall clock alone, as an administrator or a time service would."""
        self._now = seconds
