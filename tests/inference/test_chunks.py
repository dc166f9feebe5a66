"""The size of prompt chunks, against machines whose step times are made up."""

from __future__ import annotations

import math

import pytest

from secureai_appliance.inference.chunks import ChunkSizer


def seconds(decoding: int, prompt: int, load: float = 1.0) -> float:
    """Of a step, as measured on two cores with the bundled model."""
    return load * (0.0085 * math.pow(decoding, 0.75) + 0.0038 * prompt)


def read(sizer: ChunkSizer, decoding: int, tokens: int, load: float = 1.0) -> list[float]:
    """Steps that a prompt takes beside so many answers."""
    steps = []
    while tokens > 0:
        chunk = min(tokens, sizer.size(decoding))
        took = seconds(decoding, chunk, load)
        sizer.observe(decoding, chunk, took)
        steps.append(took)
        tokens -= chunk
    return steps


def write(sizer: ChunkSizer, decoding: int, steps: int = 50, load: float = 1.0) -> None:
    for _ in range(steps):
        sizer.observe(decoding, 0, seconds(decoding, 0, load))


@pytest.mark.parametrize("decoding", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("load", [0.5, 1.0, 2.0])
def test_a_long_prompt_keeps_the_pace_of_answers_and_its_own(decoding: int, load: float) -> None:
    sizer = ChunkSizer(128)
    write(sizer, decoding, load=load)
    steps = read(sizer, decoding, 2000, load)
    assert max(steps[3:]) < 4 * seconds(decoding, 0, load)
    assert max(steps) < 0.25 or load > 1.0
    alone = sum(seconds(0, 128, load) for _ in range(16))
    assert sum(steps) <= 1.5 * alone + len(steps) * seconds(decoding, 0, load)


def test_the_first_prompt_of_all_is_read_carefully_beside_answers() -> None:
    assert ChunkSizer(128).size(4) == 16
    assert ChunkSizer(128).size(0) == 128


def test_a_number_of_answers_not_seen_yet_is_judged_by_the_nearest() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 2)
    read(sizer, 2, 500)
    assert sum(step > 4 * seconds(4, 0) for step in read(sizer, 4, 500)) == 0


def test_long_steps_for_first_tokens_are_few_and_stay_within_the_longest_gap() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 4)
    read(sizer, 4, 500)
    steps = []
    for _ in range(200):
        chunk = sizer.size(4, urgent=60)
        steps.append(seconds(4, chunk))
        sizer.observe(4, chunk, steps[-1])
    long = [number for number, step in enumerate(steps) if step > 4 * seconds(4, 0)]
    assert long[:4] == [0, 1, 2, 3]
    assert len(long) <= 4 + 200 / 25
    assert max(steps) < 0.25


def test_a_long_prompt_does_not_use_up_the_long_steps() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 4)
    read(sizer, 4, 500)
    write(sizer, 4, 1)
    assert sizer.size(4, urgent=1000) == sizer.size(4)
    assert sizer.size(4, urgent=60) > 2 * sizer.size(4)


def test_a_prompt_that_begins_where_none_was_read_yet_is_read_carefully() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 4)
    read(sizer, 4, 250)
    assert sizer.size(4, depth=3000) <= sizer.size(4, depth=0) / 2
    sizer.observe(4, 10, seconds(4, 10), depth=3000)
    assert sizer.size(4, depth=3000) == sizer.size(4, depth=0)


def test_steps_on_fewer_threads_have_prices_of_their_own() -> None:
    sizer = ChunkSizer(128)
    for _ in range(20):
        sizer.observe(4, 0, seconds(4, 0), threads=2)
        sizer.observe(4, 16, seconds(4, 16), threads=2)
    sizer.observe(4, 0, seconds(4, 0), threads=2)
    before = sizer.size(4, threads=2)
    for _ in range(3):
        chunk = sizer.size(4, threads=1)
        assert seconds(4, chunk, load=2.0) < 0.25
        sizer.observe(4, chunk, seconds(4, chunk, load=2.0), threads=1)
    assert sizer.size(4, threads=2) == before


def test_a_load_that_comes_while_a_prompt_is_read_makes_no_long_gaps() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 16)
    read(sizer, 16, 1000)
    assert max(read(sizer, 16, 1000, load=1.6)[15:]) < 0.25


def test_a_load_that_comes_is_not_put_down_to_the_prompt_alone() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 4)
    before = len(read(sizer, 4, 1000))
    read(sizer, 4, 2000, load=2.5)
    assert len(read(sizer, 4, 1000, load=2.5)) <= 1.7 * before


def test_one_step_that_was_held_up_changes_little() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 4)
    read(sizer, 4, 1000)
    before = sizer.size(4)
    sizer.observe(4, before, 3.0)
    sizer.observe(4, 0, 3.0)
    assert sizer.size(4) >= before // 2


def test_what_the_mere_presence_of_a_few_tokens_costs_is_not_their_price() -> None:
    sizer = ChunkSizer(128)
    write(sizer, 16)
    read(sizer, 16, 1000)
    before = sizer.size(16)
    for _ in range(3):
        write(sizer, 16, 1)
        sizer.observe(16, 2, seconds(16, 2) + 0.02)
    assert sizer.size(16) >= 0.7 * before


def test_a_slow_model_reads_smaller_chunks_and_still_comes_on() -> None:
    sizer = ChunkSizer(128)
    sizer.observe(0, 128, 128 * 0.05)
    assert sizer.size(0) == 16
    for _ in range(20):
        sizer.observe(1, 0, 0.3)
    assert 4 <= sizer.size(1) <= 8


def test_a_small_largest_chunk_is_kept() -> None:
    sizer = ChunkSizer(2)
    write(sizer, 1)
    read(sizer, 1, 20)
    assert sizer.size(1) <= 2
    assert sizer.size(0) == 2


def test_a_clock_that_stands_still_teaches_nothing() -> None:
    sizer = ChunkSizer(64)
    sizer.observe(1, 0, 0.0)
    sizer.observe(0, 64, 0.0)
    assert (sizer.size(0), sizer.size(1)) == (64, 16)


def learned(decoding: int) -> ChunkSizer:
    """It knows what a step and a prompt cost; prompts alone are cheaper."""
    sizer = ChunkSizer(128)
    sizer.observe(0, 64, 64 * 0.002)
    write(sizer, decoding)
    sizer.observe(decoding, 8, seconds(decoding, 8))
    write(sizer, decoding, 5)
    return sizer


def test_a_first_token_that_would_take_two_steps_beside_many_answers_comes_before_them() -> None:
    sizer = learned(16)
    assert not sizer.goes_first(16, 0, 1, urgent=0)
    assert not sizer.goes_first(16, 0, 1, urgent=20)  # one step will do
    assert sizer.goes_first(16, 0, 1, urgent=60)
    assert seconds(16, 0) + 60 * 0.002 < 0.25
    assert not sizer.goes_first(16, 0, 1, urgent=120)  # the answers would stand still for too long
    assert not ChunkSizer(128).goes_first(16, 0, 1, urgent=60)


def test_answers_make_way_for_first_tokens_in_one_step_of_25() -> None:
    sizer, gone = learned(16), 0
    for _ in range(500):
        gone += sizer.goes_first(16, 0, 1, urgent=60)
        sizer.observe(16, 0, seconds(16, 0))
    assert 20 <= gone <= 25
