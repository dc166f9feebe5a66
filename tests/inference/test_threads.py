"""The choice of threads, against machines whose step times are made up."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from secureai_appliance.inference.threads import ThreadChooser

# seconds of a step of so many tokens on so many threads
Machine = Callable[[int, int], float]


def idle(tokens: int, threads: int) -> float:
    return 0.006 + 0.005 * tokens / (1 + 0.8 * (threads - 1))


def busy(tokens: int, threads: int) -> float:
    return idle(tokens, 1) * 1.1 if threads == 1 else 1.0


def bursty() -> Machine:
    """Every fourth step on two threads meets something else that wants the core."""
    steps = iter(range(10**9))

    def machine(tokens: int, threads: int) -> float:
        return idle(tokens, threads) * (5.0 if threads > 1 and next(steps) % 4 == 0 else 1.0)

    return machine


def interrupted(share: float, lost: float) -> Machine:
    """Now and then another program has a core for a moment: a step on one thread goes to the other one, a step on two
    waits for it."""
    chance = random.Random(3)

    def machine(tokens: int, threads: int) -> float:
        return idle(tokens, threads) + (lost if threads > 1 and chance.random() < share else 0.0)

    return machine


def crowded(tokens: int, threads: int) -> float:
    """Measured with several programs that want a core: two threads are a third as fast as one."""
    return idle(tokens, 1) * (1.1 if threads == 1 else 3.3)


def speed(chooser: ThreadChooser, machine: Machine, tokens: int, seconds: float) -> float:
    """Steps a second."""
    spent, steps = 0.0, 0
    while spent < seconds:
        threads = chooser.choose(tokens)
        took = machine(tokens, threads)
        chooser.observe(tokens, threads, took)
        spent += took
        steps += 1
    return steps / spent


def usual(chooser: ThreadChooser, machine: Machine, tokens: int) -> int:
    """The count that it takes for most of some steps: one may be a probe."""
    taken = []
    for _ in range(11):
        taken.append(chooser.choose(tokens))
        chooser_step(chooser, machine, tokens)
    return max(taken, key=taken.count)


def fixed_speed(machine: Machine, tokens: int) -> float:
    """Of the better of the two fixed counts."""
    return max(1000 / sum(machine(tokens, threads) for _ in range(1000)) for threads in (1, 2))


@pytest.mark.parametrize("tokens", [1, 4, 8, 16, 128])
@pytest.mark.parametrize(
    "machine",
    [idle, busy, crowded, bursty(), interrupted(0.02, 0.05), interrupted(0.05, 0.02), interrupted(0.005, 0.3)],
    ids=["idle", "busy", "crowded", "bursty", "interrupted", "often and shortly", "rarely and long"],
)
def test_it_is_never_far_below_the_better_fixed_count(machine: Machine, tokens: int) -> None:
    chooser = ThreadChooser(2)
    speed(chooser, machine, tokens, 20)
    assert speed(chooser, machine, tokens, 200) >= 0.95 * fixed_speed(machine, tokens)


def test_a_load_that_comes_costs_two_steps_and_not_more() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, idle, 4, 10)
    slow = sum(chooser_step(chooser, busy, 4) for _ in range(60))
    assert slow < 2 * busy(4, 2) + 60 * busy(4, 1)


def chooser_step(chooser: ThreadChooser, machine: Machine, tokens: int) -> float:
    threads = chooser.choose(tokens)
    took = machine(tokens, threads)
    chooser.observe(tokens, threads, took)
    return took


def test_after_a_load_has_gone_it_comes_back_within_a_bounded_time() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, busy, 4, 60)
    speed(chooser, idle, 4, 55)  # one lost probe of a second is paid back at two per cent
    assert usual(chooser, idle, 4) == 2
    assert speed(chooser, idle, 4, 20) >= 0.95 * fixed_speed(idle, 4)


def test_it_comes_back_at_once_when_the_machine_is_known_to_be_idle() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, busy, 4, 60)
    chooser.forgive()
    speed(chooser, idle, 4, 3)
    assert usual(chooser, idle, 4) == 2


def test_one_long_step_does_not_change_the_choice_for_long() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, idle, 4, 10)
    chooser.observe(4, 2, 1.0)
    assert chooser.choose(4) == 1
    speed(chooser, idle, 4, 1)
    assert usual(chooser, idle, 4) == 2


def test_one_long_step_costs_four_on_fewer_threads_and_nothing_later() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, idle, 8, 10)
    for _ in range(20):
        while chooser.choose(8) == 1:
            chooser_step(chooser, idle, 8)  # a probe
        chooser.observe(8, 2, 1.0)
        aside = 0
        while chooser.choose(8) == 1:
            chooser_step(chooser, idle, 8)
            aside += 1
        assert aside == 4
        speed(chooser, idle, 8, 40)


def test_a_real_crowd_that_goes_is_followed_by_the_right_count_within_seconds() -> None:
    for seconds in range(1, 30, 3):
        chooser = ThreadChooser(2)
        speed(chooser, idle, 8, 5)
        speed(chooser, crowded, 8, seconds)
        speed(chooser, idle, 8, 4)
        assert usual(chooser, idle, 8) == 2


def test_a_crowd_that_comes_and_goes_all_the_time_costs_a_bounded_part() -> None:
    chooser, spent, ideal = ThreadChooser(2), 0.0, 0.0
    for turn in range(100):
        machine = crowded if turn % 2 else idle
        for _ in range(150):
            spent += chooser_step(chooser, machine, 8)
            ideal += min(machine(8, 1), machine(8, 2))
    assert ideal >= 0.85 * spent


def test_sizes_are_judged_on_their_own() -> None:
    def prompts_gain(tokens: int, threads: int) -> float:
        return idle(tokens, threads) if tokens >= 64 else 0.01 * threads

    chooser = ThreadChooser(2)
    for _ in range(2000):
        chooser_step(chooser, prompts_gain, 1)
        chooser_step(chooser, prompts_gain, 128)
    assert (usual(chooser, prompts_gain, 1), usual(chooser, prompts_gain, 128)) == (1, 2)


def test_a_load_seen_in_small_steps_spares_the_large_ones_the_try() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, idle, 128, 5)
    speed(chooser, idle, 1, 5)
    speed(chooser, busy, 1, 5)
    assert chooser.choose(128) == 1


def test_all_counts_between_are_tried() -> None:
    def three_cores_are_free(tokens: int, threads: int) -> float:
        return 0.1 * tokens / threads if threads <= 3 else 0.5 * tokens

    chooser = ThreadChooser(6)
    assert chooser.candidates == [1, 2, 4, 6]
    speed(chooser, three_cores_are_free, 1, 200)
    assert usual(chooser, three_cores_are_free, 1) == 2


def test_a_fixed_count_stays() -> None:
    chooser = ThreadChooser(3, least=3)
    speed(chooser, busy, 4, 20)
    assert usual(chooser, busy, 4) == 3


def test_a_clock_that_stands_still_is_survived() -> None:
    chooser = ThreadChooser(2)
    for _ in range(100):
        chooser.observe(4, chooser.choose(4), 0.0)


def test_a_step_that_somebody_waits_for_is_not_used_to_try_another_count() -> None:
    chooser = ThreadChooser(2)
    seen = set()
    for _ in range(2000):
        assert chooser.settled(16) == 2
        threads = chooser.choose(16)
        seen.add(threads)
        chooser.observe(16, threads, idle(16, threads))
    assert seen == {1, 2}


def test_a_step_that_somebody_waits_for_goes_aside_for_a_load_too() -> None:
    chooser = ThreadChooser(2)
    speed(chooser, idle, 16, 5.0)
    chooser.observe(16, 2, 5.0)
    assert chooser.settled(16) == chooser.choose(16) == 1
