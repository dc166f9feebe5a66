"""How many cores this process may really use, and how many nobody uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


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
    """Tells how many cores nobody used lately. The kernel counts in hundredths of a second: ask after some time."""

    def __init__(self, read: Callable[[], str] = Path("/proc/stat").read_text) -> None:
        self._read = read
        self._allowed = {f"cpu{cpu}" for cpu in os.sched_getaffinity(0)}
        self._seen = self._times()

    def since_last_time(self) -> float:
        """Cores idle on average between the last call and this one; 0 when it can't be known."""
        idle, total = self._times()
        before_idle, before_total = self._seen
        self._seen = idle, total
        elapsed = (total - before_total) / len(self._allowed)
        return (idle - before_idle) / elapsed if elapsed > 0 else 0.0

    def _times(self) -> tuple[int, int]:
        """Ticks of the cores that this process may use: idle, and all."""
        idle = total = 0
        try:
            for line in self._read().splitlines():
                name, *ticks = line.split()
                if name in self._allowed:
                    figures = [int(tick) for tick in ticks[:8]]  # guests' time is counted as the user's already
                    idle += figures[3]
                    total += sum(figures)
        except (OSError, ValueError, IndexError):
            return 0, 0
        return idle, total
