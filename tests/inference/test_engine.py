"""The engine on the real model: what callers see, whatever happens to them or to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.core.errors import ServiceUnavailable, ValidationError
from secureai_appliance.inference import runner
from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.inference.generation import Finished, GenerationRequest, Queued, Started, Text
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.sampling import Sampling
from tests.support.clock import FakeClock
from tests.support.models import CHAT, EMBEDDING, GREEDY, PATIENCE, StepGate, answer, ask, events, prompt
from tests.support.running_engine import engine_of, idle, settled

STORY = "Write a long story about a dragon."


@pytest.fixture
def one_slot(clock: FakeClock) -> Iterator[Engine]:
    """One slot, one place to wait, and a clock that stands still."""
    options = EngineOptions(context_length=256, slots=1, max_waiting=1, max_wait_seconds=30)
    with engine_of(options, clock) as engine:
        yield engine


def test_an_answer_comes_as_started_text_and_finished(chat_engine: Engine) -> None:
    seen = events(ask(chat_engine, STORY, max_tokens=24))

    tokens = len(prompt(chat_engine, STORY))
    assert seen[0] == Started(tokens, 0)
    finished = seen[-1]
    assert isinstance(finished, Finished)
    assert (finished.reason, finished.error) == ("length", None)
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (tokens, 24)
    texts = [event for event in seen if isinstance(event, Text)]
    assert len(texts) > 1
    assert sum(text.tokens for text in texts) == 24


def test_four_at_once_each_get_their_own_answer(chat_engine: Engine) -> None:
    questions = ["Say hello.", "What is a cat?", STORY, "List three colours."]
    first = [answer(ask(chat_engine, question, max_tokens=1))[0] for question in questions]
    assert len(set(first)) == 4

    generations = [ask(chat_engine, question, max_tokens=40) for question in questions]
    together = [answer(generation) for generation in generations]

    # batching changes the last bits of the logits: where two tokens are nearly as likely, the text goes another way
    for beginning, (text, finished) in zip(first, together, strict=True):
        assert text.startswith(beginning)
        assert finished.error is None
    settled(chat_engine, idle)


def test_a_seed_gives_the_same_text_again_and_after_a_restart(chat_engine: Engine) -> None:
    sampling = Sampling(temperature=1.0, seed=1234)
    first = answer(ask(chat_engine, STORY, max_tokens=48, sampling=sampling))[0]
    other = answer(ask(chat_engine, STORY, max_tokens=48, sampling=Sampling(seed=1235)))[0]
    again = answer(ask(chat_engine, STORY, max_tokens=48, sampling=sampling))[0]
    restarted = Engine(CHAT, EngineOptions(threads=1))
    try:
        after = answer(ask(restarted, STORY, max_tokens=48, sampling=sampling))[0]
    finally:
        restarted.close()

    assert first == again == after
    assert first != other


@pytest.mark.parametrize("seed", [0, -1, 2**32 - 1, 2**63])
def test_any_integer_is_a_seed(seed: int, chat_engine: Engine) -> None:
    sampling = Sampling(temperature=1.5, seed=seed)
    texts = {answer(ask(chat_engine, STORY, max_tokens=12, sampling=sampling))[0] for _ in range(2)}
    assert len(texts) == 1


def test_a_stop_sequence_ends_the_answer_and_is_not_part_of_it(chat_engine: Engine) -> None:
    whole, _ = answer(ask(chat_engine, STORY, max_tokens=24))
    stop = whole[10:20]  # wherever its tokens begin and end

    text, finished = answer(ask(chat_engine, STORY, max_tokens=24, stop=[stop]))

    assert text == whole[: whole.index(stop)]
    assert finished.reason == "stop"
    assert finished.usage.completion_tokens < 24


def test_an_answer_that_ends_by_itself_says_stop(chat_engine: Engine) -> None:
    text, finished = answer(ask(chat_engine, "Say hello.", max_tokens=200))
    assert finished.reason == "stop"
    assert "<|im_end|>" not in text


def test_a_prompt_over_the_context_is_refused_with_both_figures(one_slot: Engine) -> None:
    for length in (256, 257, 100_000):
        with pytest.raises(ValidationError) as refusal:
            one_slot.submit(GenerationRequest([5] * length))
        assert refusal.value.code == "context_length_exceeded"
        assert refusal.value.details["prompt_tokens"] == length
        assert refusal.value.details["context_length"] == 256


def test_a_prompt_that_leaves_room_for_one_token_gets_one(one_slot: Engine) -> None:
    _, finished = answer(one_slot.submit(GenerationRequest([5] * 255, sampling=GREEDY)))
    assert finished.error is None
    assert finished.usage.completion_tokens == 1


def test_without_max_tokens_an_answer_ends_with_the_context(one_slot: Engine) -> None:
    _, finished = answer(ask(one_slot, STORY, max_tokens=None))
    assert finished.reason == "length"
    assert finished.usage.prompt_tokens + finished.usage.completion_tokens == 256


@pytest.mark.parametrize(
    "request_",
    [
        GenerationRequest([]),
        GenerationRequest([1, 49_152]),
        GenerationRequest([-1]),
        GenerationRequest([1], max_tokens=0),
        GenerationRequest([1], stop=("",)),
    ],
)
def test_a_request_that_can_not_run_is_refused_before_it_waits(request_: GenerationRequest, one_slot: Engine) -> None:
    with pytest.raises(ValidationError):
        one_slot.submit(request_)
    assert idle(one_slot.queue())


def test_a_full_waiting_list_refuses_and_says_when_to_come_back(one_slot: Engine) -> None:
    StepGate(one_slot)
    ask(one_slot, STORY, max_tokens=100)
    settled(one_slot, lambda state: state.running == 1)
    waiting = ask(one_slot)

    with pytest.raises(ServiceUnavailable) as refusal:
        ask(one_slot)

    assert refusal.value.retry_after is not None
    assert 1 <= refusal.value.retry_after <= 60
    event = waiting.next(PATIENCE)
    assert isinstance(event, Queued)
    assert event.position == 1
    assert event.eta_seconds > 0
    assert waiting.waiting is not None


def test_one_that_waits_too_long_is_told_so(one_slot: Engine, clock: FakeClock) -> None:
    gate = StepGate(one_slot)
    ask(one_slot, STORY, max_tokens=100)
    settled(one_slot, lambda state: state.running == 1)
    late = ask(one_slot)
    clock.advance(31)
    gate.allow(1)

    finished = events(late)[-1]

    assert isinstance(finished, Finished)
    assert isinstance(finished.error, ServiceUnavailable)
    assert finished.error.retry_after is not None


def test_cancelling_one_that_waits_frees_its_place(one_slot: Engine) -> None:
    gate = StepGate(one_slot)
    ask(one_slot, STORY, max_tokens=100)
    settled(one_slot, lambda state: state.running == 1)
    waiting = ask(one_slot)
    waiting.cancel()
    gate.allow(1)

    assert answer(waiting)[1].reason == "cancelled"
    assert one_slot.queue().waiting == 0


@pytest.mark.parametrize(("steps_before", "length"), [(1, 200), (6, 40)], ids=["prefilling", "decoding"])
def test_cancelling_frees_slot_and_cells_within_two_steps(steps_before: int, length: int, one_slot: Engine) -> None:
    gate = StepGate(one_slot)
    tokens = one_slot.vocabulary.tokenize("one two three four five six seven eight nine ten " * 60)[:length]
    generation = one_slot.submit(GenerationRequest(tokens, sampling=GREEDY))
    gate.allow(steps_before)
    settled(one_slot, lambda state: state.steps == steps_before)
    generation.cancel()
    gate.open()
    settled(one_slot, idle)

    assert one_slot.queue().steps - steps_before <= 2
    finished = events(generation)[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "cancelled"
    assert answer(ask(one_slot))[1].error is None


def test_cancelling_what_has_ended_does_no_harm(chat_engine: Engine) -> None:
    generation = ask(chat_engine, max_tokens=1)
    answer(generation)
    generation.cancel()
    assert answer(ask(chat_engine))[1].error is None


def test_streams_go_on_while_a_long_prompt_is_read(clock: FakeClock) -> None:
    with engine_of(EngineOptions(context_length=1024, slots=2, mixed_chunk=32), clock) as engine:
        gate = StepGate(engine)
        stream = ask(engine, STORY, max_tokens=None)
        gate.allow(3)
        settled(engine, lambda state: state.steps == 3)
        while stream.next(0) is not None:
            pass
        engine.submit(GenerationRequest([5] * 320, max_tokens=1))
        gate.allow(11)  # the prompt takes ten steps of 32, and the one before may have begun without it
        settled(engine, lambda state: state.steps == 14)
        tokens = 0
        while isinstance(event := stream.next(0), Text):
            tokens += event.tokens
        assert tokens >= 10


def test_when_cells_run_out_the_newest_waits_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GROWTH", 16)
    options = EngineOptions(context_length=128, kv_tokens=128, slots=2)
    with engine_of(options) as engine:
        gate = StepGate(engine)
        first, second = (ask(engine, STORY, max_tokens=None) for _ in range(2))
        gate.allow(1)  # the first may have begun a step before the second came
        settled(engine, lambda state: state.running == 2)
        gate.open()
        settled(engine, lambda state: state.waiting == 1)
        outcomes = [events(generation) for generation in (first, second)]
        settled(engine, idle)

    for seen in outcomes:
        assert sum(isinstance(event, Started) for event in seen) == 1
        assert not any(isinstance(event, Queued) for event in seen)
        finished = seen[-1]
        assert isinstance(finished, Finished)
        assert finished.error is None
        assert finished.usage.prompt_tokens + finished.usage.completion_tokens == 128
        assert sum(event.tokens for event in seen if isinstance(event, Text)) == finished.usage.completion_tokens


def test_a_step_that_fails_ends_its_answers_and_the_engine_goes_on(one_slot: Engine) -> None:
    gate = StepGate(one_slot)
    gate.fail_with = -3
    generation = ask(one_slot, STORY, max_tokens=100)
    gate.open()

    finished = answer(generation)[1]

    assert finished.reason == "error"
    assert isinstance(finished.error, ServiceUnavailable)
    settled(one_slot, idle)
    assert not one_slot.failed
    assert answer(ask(one_slot))[1].error is None


def test_an_engine_whose_thread_dies_tells_everybody_and_says_so(one_slot: Engine) -> None:
    gate = StepGate(one_slot)
    gate.fail_with = RuntimeError("broken")
    running = ask(one_slot, STORY, max_tokens=100)
    settled(one_slot, lambda state: state.running == 1)
    waiting = ask(one_slot)
    gate.open()

    for generation in (running, waiting):
        finished = answer(generation)[1]
        assert finished.reason == "error"
        assert isinstance(finished.error, ServiceUnavailable)
    settled(one_slot, idle)
    assert one_slot.failed
    with pytest.raises(ServiceUnavailable):
        one_slot.submit(GenerationRequest([1]))


def test_closing_cancels_what_runs_and_what_waits_and_ends_the_thread() -> None:
    before = engine_threads()
    engine = Engine(CHAT, EngineOptions(context_length=512, slots=1, threads=1))
    generations = [ask(engine, STORY, max_tokens=None) for _ in range(3)]
    settled(engine, lambda state: state.running == 1)

    assert engine.close(PATIENCE)

    assert [answer(generation)[1].reason for generation in generations] == ["cancelled"] * 3
    assert engine_threads() <= before
    assert engine.close(PATIENCE)
    with pytest.raises(ServiceUnavailable):
        engine.vocabulary.tokenize("text")


def test_tokenising_does_not_wait_for_a_step(one_slot: Engine) -> None:
    StepGate(one_slot)
    ask(one_slot, STORY, max_tokens=100)
    settled(one_slot, lambda state: state.running == 1)
    assert one_slot.vocabulary.tokenize("while the engine's thread is held")


def test_a_file_that_is_no_model_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(CHAT.read_bytes()[:1_000_000])
    before = engine_threads()
    for wrong, reason in (
        (path, "incomplete"),
        (tmp_path / "missing.gguf", "can't be read"),
        (EMBEDDING, "embeddings"),
    ):
        with pytest.raises(LoadFailure, match=reason) as refusal:
            Engine(wrong)
        assert str(tmp_path) not in refusal.value.message
    assert engine_threads() <= before


def test_a_context_that_does_not_fit_into_memory_is_refused_with_figures() -> None:
    with pytest.raises(LoadFailure, match=r"needs about [\d.]+ GB"):
        Engine(CHAT, EngineOptions(kv_tokens=10**10))


@pytest.mark.soak
def test_hanging_up_at_random_leaks_no_slot_cell_or_thread() -> None:
    _hang_up(500)


def test_hanging_up_at_random_leaks_no_slot_or_cell() -> None:
    _hang_up(24)


def engine_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("engine")}


def _hang_up(times: int) -> None:
    before = engine_threads()
    with engine_of(EngineOptions(context_length=512, slots=4, max_waiting=times)) as engine:
        generations = [ask(engine, STORY, max_tokens=20 + index % 7) for index in range(times)]
        for index, generation in enumerate(generations):
            if index % 3 == 0:
                while not isinstance(generation.next(PATIENCE), Text):
                    pass
            generation.cancel()
        for generation in generations:
            assert answer(generation)[1].reason in ("cancelled", "length", "stop")
        settled(engine, idle)
    assert engine_threads() <= before
