"""How many cores this process may really use, and how many nobody uses."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def usable_cores() -> int:
    """Physical cores that this process may run on, a container's CPU quota included; at least 1.

    ggml's threads wait for each other at barriers: two on one physical core, or more than the quota lets
    run, slow every step down.
    """
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(len(allowed))))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(unlimited: int) -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return unlimited if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return unlimited


class SpareCores:
    """Tells how many cores no other process used lately. The kernel counts in hundredths of a second: ask after some
    time.
    """

    def __init__(
        self, read: Callable[[], str] = Path("/proc/stat").read_text, own: Callable[[], float] = time.process_time
    ) -> None:
        """`own`: seconds of CPU that this process has used."""
        self._read = read
        self._own = own
        self._allowed = {f"cpu{cpu}" for cpu in os.sched_getaffinity(0)}
        self._seen = self._times()

    def since_last_time(self) -> float:
        """Cores idle or ours on average between the last call and this one; 0 when it can't be known."""
        idle, total, own = self._times()
        before_idle, before_total, before_own = self._seen
        self._seen = idle, total, own
        elapsed = (total - before_total) / len(self._allowed)
        return (idle - before_idle + own - before_own) / elapsed if elapsed > 0 else 0.0

    def _times(self) -> tuple[int, int, float]:
        """Ticks of the cores that this process may use: idle, all, and its own."""
        idle = total = 0
        try:
            for line in self._read().splitlines():
                name, *ticks = line.split()
                if name in self._allowed:
                    figures = [int(tick) for tick in ticks[:8]]  # guests' time is counted as the user's already
                    idle += figures[3]
                    total += sum(figures)
        except (OSError, ValueError, IndexError):
            return 0, 0, 0.0
        return idle, total, self._own() * _TICKS
