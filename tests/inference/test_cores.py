"""What is known of the machine's cores."""

from __future__ import annotations

import os

import pytest

from secureai_appliance.inference.cores import SpareCores, usable_cores


def stat(idle: int, busy: int) -> str:
    """`/proc/stat` after so many ticks of each of the process's cores."""
    rows = [f"cpu{cpu} {busy} 0 0 {idle} 0 0 0 0 0 0" for cpu in sorted(os.sched_getaffinity(0))]
    return "\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *rows, "cpu9999 5 5 5 5 5 5 5 5 5 5", "intr 1 2 3"])


def test_at_least_one_core_is_usable() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_idle_cores_are_those_since_the_last_look() -> None:
    texts = iter([stat(100, 100), stat(150, 150), stat(250, 150), stat(250, 350), stat(250, 350)])
    spare = SpareCores(lambda: next(texts), lambda: 0.0)
    cores = len(os.sched_getaffinity(0))
    assert [spare.since_last_time() for _ in range(4)] == [cores / 2, cores, 0, 0]


def test_what_this_process_used_itself_is_not_others() -> None:
    cores, ticks = len(os.sched_getaffinity(0)), os.sysconf("SC_CLK_TCK")
    texts, own = iter([stat(0, 0), stat(0, 100), stat(0, 200)]), iter([0.0, 100 * cores / ticks, 150 * cores / ticks])
    spare = SpareCores(lambda: next(texts), lambda: next(own))
    assert [spare.since_last_time() for _ in range(2)] == pytest.approx([cores, cores / 2])


def test_a_machine_that_tells_nothing_has_no_spare_core() -> None:
    spare = SpareCores(lambda: "cpu0 what is this")
    assert spare.since_last_time() == 0
