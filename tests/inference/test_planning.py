"""The engine's decisions about numbers: steps, waiting, memory, sampling."""

from __future__ import annotations

import math

import pytest

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.inference.generation import Generation, GenerationRequest
from secureai_appliance.inference.gguf import read_gguf
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.memory import MemoryNeed, available_memory, predict, require_memory
from secureai_appliance.inference.pooled import PooledOptions, sizes
from secureai_appliance.inference.sampling import Sampling
from secureai_appliance.inference.sequence import Sequence
from secureai_appliance.inference.step import plan, reading, unheard, urgent
from secureai_appliance.inference.waiting import Pace, estimates, retry_after
from tests.support.models import CHAT, EMBEDDING


def sequence(arrival: int, prompt: int, *, sampled: int = 0, computed: int = 0, key: str = "") -> Sequence:
    request = GenerationRequest([1] * prompt, fairness_key=key)
    tokens = [1] * (prompt + sampled)
    return Sequence(Generation(lambda: None), request, 100, arrival, 0.0, tokens, computed=computed)


def planned(chunk: int, *sequences: Sequence) -> list[tuple[int, int, bool]]:
    work = plan(sequences, reading(sequences, lambda _: 0), chunk)
    return [(item.sequence.arrival, item.count, item.samples) for item in work]


def test_a_prompt_is_read_in_chunks_and_the_last_one_gives_a_token() -> None:
    assert planned(100, sequence(1, 250)) == [(1, 100, False)]
    assert planned(100, sequence(1, 250, computed=200)) == [(1, 50, True)]


def test_streams_come_first_and_prompts_share_what_is_left() -> None:
    stream = sequence(3, 5, sampled=1, computed=5)
    assert planned(10, sequence(2, 8), sequence(1, 4), stream) == [(3, 1, True), (1, 4, True), (2, 6, False)]


def test_one_that_lost_its_cells_is_read_again_like_a_prompt() -> None:
    stream = sequence(2, 5, sampled=1, computed=5)
    paused = sequence(1, 5, sampled=20)
    assert planned(10, paused, stream) == [(2, 1, True), (1, 10, False)]


def test_a_chunk_that_is_used_up_leaves_later_prompts_for_the_next_step() -> None:
    assert planned(100, sequence(1, 100), sequence(2, 5)) == [(1, 100, True)]


def test_the_prompt_of_a_user_who_has_no_answer_yet_comes_before_others_next_ones() -> None:
    stream = sequence(1, 5, sampled=1, computed=5, key="a")
    next_one, newcomer = sequence(2, 20, key="a"), sequence(3, 20, key="b")
    assert planned(25, stream, next_one, newcomer) == [(1, 1, True), (3, 20, True), (2, 5, False)]
    assert urgent([stream, next_one, newcomer], [newcomer, next_one]) == 20
    assert not urgent([stream, next_one], [next_one])
    assert not urgent([newcomer], [newcomer])  # nobody is held up


def test_what_stands_before_first_tokens_is_the_prompts_of_users_without_an_answer() -> None:
    stream = sequence(1, 5, sampled=1, computed=5, key="a")
    prompts = [sequence(3, 20, key="b"), sequence(4, 10, computed=4, key="c"), sequence(2, 40, key="a")]
    assert unheard([stream, *prompts], prompts) == 26


def test_one_who_lost_his_place_in_the_middle_of_an_answer_is_not_urgent() -> None:
    stream = sequence(1, 5, sampled=1, computed=5, key="a")
    paused = sequence(2, 5, sampled=20, key="b")
    assert not urgent([stream, paused], [paused])


def test_the_first_in_the_list_takes_the_first_slot_that_ends() -> None:
    assert estimates([5.0, 1.0], [10.0, 10.0, 10.0], slots=2) == [1.0, 5.0, 11.0, 15.0]
    assert estimates([], [], slots=2) == [0.0]
    assert estimates([3.0], [], slots=2) == [0.0]


def test_the_time_in_a_slot_is_learnt_from_answers_that_ended() -> None:
    pace = Pace()
    assert pace.holds(0, 1000) == pytest.approx(256 * 0.05)
    for _ in range(50):
        pace.observe_step(0.02)
        pace.observe_answer(100, 6.0)
    assert pace.holds(0, 1000) == pytest.approx(6.0)
    assert pace.holds(60, 1000) == pytest.approx(2.4)
    assert pace.holds(0, 10) == pytest.approx(0.6)
    assert pace.holds(500, 1000) > 0  # one that went on for longer than most ends some day
    for _ in range(100):
        pace.observe_step(0.5)
    assert pace.holds(0, 1000) == pytest.approx(50.0, rel=0.01)  # a load has come that none has ended under


def test_retry_after_is_a_whole_number_of_seconds_within_bounds() -> None:
    assert [retry_after(seconds) for seconds in (0.0, 1.6, 1e9)] == [1, 2, 600]


def test_memory_is_predicted_from_file_and_context() -> None:
    need = predict(read_gguf(CHAT), kv_tokens=16_384, batch=136, outputs=8)
    assert need.weights == CHAT.stat().st_size
    assert need.kv == 16_384 * 23_040
    assert need.total < 700_000_000
    require_memory(need, need.total)


def test_room_for_every_tokens_figures_is_part_of_what_a_model_that_reads_needs() -> None:
    batch, need = sizes(read_gguf(EMBEDDING), PooledOptions(threads=2))
    assert batch == 512
    assert need.buffers > (2 * 512 + 128) * 30_522 * 4


def test_too_little_memory_is_refused_with_the_figures() -> None:
    with pytest.raises(LoadFailure, match=r"3\.10 GB .*2\.00 GB weights, 1\.00 GB context.*and 3\.00 GB is free"):
        require_memory(MemoryNeed(2_000_000_000, 1_000_000_000, 100_000_000), 3_000_000_000)


def test_available_memory_is_known() -> None:
    assert available_memory() > 0


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(-0.1, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, 1.1), (1.0, -0.1), (1.0, math.nan)]
)
def test_sampling_that_llama_cpp_would_not_survive_is_refused(temperature: float, top_p: float) -> None:
    with pytest.raises(ValidationError):
        Sampling(temperature=temperature, top_p=top_p)
