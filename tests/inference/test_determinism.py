"""Answers in a crowd are those that each would have had alone, but for rounding."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest

from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.inference.generation import Generation, GenerationRequest, Text
from secureai_appliance.inference.sampling import TokenLogprob
from tests.support.models import GREEDY, StepGate, events
from tests.support.running_engine import engine_of, settled

CROWD = 16
LENGTH = 10
TOKENS = 12
# rounding differs with the shape of a batch: at a token where two are nearly as likely, either may come
NEARLY = 1.0
PROMPTS = (
    "The capital of France is the city of Paris, and the capital of Italy is",
    "def add(a, b): return a + b  # and def multiply(a, b): return",
    "One two three four five six seven eight nine ten eleven twelve",
    "To bake bread you need flour, water, salt and yeast; first you",
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and then",
    "The ship sailed over the stormy sea while the captain looked for",
    "In winter the snow covers the mountains and the bears all go to",
    "A triangle has three sides, a square has four sides, a pentagon has",
    "Water boils at one hundred degrees and it freezes when it is at",
    "The patient told the doctor that his head had been hurting since",
    "My favourite colours are red, green, blue, yellow, orange and also",
    "The train to London leaves from the third platform in about five",
    "Bees make honey from the nectar of flowers, and they live in a",
    "Shakespeare wrote many plays such as Hamlet, Macbeth, Othello and",
    "The price of gold has risen because many investors are afraid of",
    "Dear Sir or Madam, I am writing to you because I would like to",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    options = EngineOptions(context_length=128, kv_tokens=4096, slots=CROWD + 1, mixed_chunk=512, prompt_chunk=512)
    with engine_of(options) as started:
        yield started


def submit(engine: Engine, number: int) -> Generation:
    tokens = engine.vocabulary.tokenize(PROMPTS[number])[:LENGTH]
    assert len(tokens) == LENGTH
    return engine.submit(GenerationRequest(tokens, TOKENS, GREEDY, logprobs=20, reuse_key=""))


def steps(generation: Generation) -> list[TokenLogprob]:
    """What was chosen at each step, and what else was likely."""
    return [step for event in events(generation) if isinstance(event, Text) for step in event.logprobs]


def difference(alone: list[TokenLogprob], together: list[TokenLogprob]) -> float:
    """At the first token that differs, how far apart the two are in what the model thought when it was alone."""
    for mine, other in itertools.zip_longest(alone, together):
        if mine is None or other is None:
            return math.inf
        if mine.token != other.token:
            return mine.logprob - dict(mine.top).get(other.token, -math.inf)
    return 0.0


def crowd(engine: Engine, meanwhile: Callable[[], None] = lambda: None) -> list[list[TokenLogprob]]:
    """All at once: their prompts are read in one step, and `meanwhile` happens before it."""
    gate = StepGate(engine)
    before = engine.queue().steps
    starter = engine.submit(GenerationRequest([5] * 4, 2 * TOKENS, GREEDY, reuse_key=""))
    settled(engine, lambda state: state.running == 1)
    generations = [submit(engine, number) for number in range(CROWD)]
    meanwhile()
    gate.open()
    settled(engine, lambda state: state.running == CROWD + 1 or state.steps > before + TOKENS)
    answers = [steps(generation) for generation in generations]
    events(starter)
    return answers


def test_sixteen_at_once_say_what_each_says_alone_and_swapped_ones_do_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [steps(submit(engine, number)) for number in range(CROWD)]
    together = crowd(engine)
    assert max(map(difference, alone, together)) <= NEARLY

    # the same check finds answers that go on from another's prompt
    assert engine._runner is not None
    batch = engine._runner._context.batch
    add = batch.add

    def swapped(sequence: int, tokens: list[int], position: int, *, output: bool) -> int:
        reads_its_prompt = position == 0 and len(tokens) == LENGTH
        return add(((sequence - 1) ^ 1) + 1 if reads_its_prompt else sequence, tokens, position, output=output)

    mixed_up = crowd(engine, lambda: monkeypatch.setattr(batch, "add", swapped))
    assert max(map(difference, alone, mixed_up)) > NEARLY
