"""Settings that change which token comes next, on the real model."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import GenerationRequest, Text
from secureai_appliance.inference.sampling import Sampling
from tests.support.models import GREEDY, answer, ask, events, prompt


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": math.nan},
        {"frequency_penalty": math.inf},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": math.nan},
        {"logit_bias": ((1, math.nan),)},
        {"logit_bias": ((1, 101.0),)},
    ],
)
def test_a_setting_that_llama_cpp_would_not_survive_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sampling(**fields)


def test_the_likeliest_token_is_the_one_that_the_sampler_takes(chat_engine: Engine) -> None:
    through_the_chain = Sampling(temperature=0, seed=1, logit_bias=((0, 0.0),))
    expected = answer(ask(chat_engine, "Why is the sky blue?", max_tokens=48, sampling=through_the_chain))[0]
    directly = answer(ask(chat_engine, "Why is the sky blue?", max_tokens=48, sampling=Sampling(temperature=0, seed=1)))
    assert directly[0] == expected


def test_a_bias_forbids_and_forces_tokens(chat_engine: Engine) -> None:
    first = chat_engine.vocabulary.tokenize(answer(ask(chat_engine, "Say hello.", max_tokens=1))[0])[0]
    without = Sampling(temperature=0, logit_bias=((first, -100.0),))
    assert chat_engine.vocabulary.tokenize(answer(ask(chat_engine, "Say hello.", max_tokens=1, sampling=without))[0])[
        0
    ] != (first)
    word = chat_engine.vocabulary.tokenize(" cat")[0]
    forced = Sampling(temperature=0, logit_bias=((word, 100.0),))
    assert answer(ask(chat_engine, "Say hello.", max_tokens=3, sampling=forced))[0] == " cat cat cat"


@pytest.mark.parametrize("fields", [{"frequency_penalty": 2.0}, {"presence_penalty": 2.0}, {"repeat_penalty": 2.0}])
def test_a_penalty_makes_an_answer_repeat_itself_less(chat_engine: Engine, fields: dict[str, Any]) -> None:
    question = "Write the word 'cat' again and again: cat cat cat cat cat"

    def most(sampling: Sampling) -> int:
        text = answer(ask(chat_engine, question, max_tokens=48, sampling=sampling))[0]
        return Counter(chat_engine.vocabulary.tokenize(text)).most_common(1)[0][1]

    assert most(Sampling(temperature=0, **fields)) < most(GREEDY)


def test_logprobs_are_the_models_own_and_come_once_for_each_token(chat_engine: Engine) -> None:
    request = GenerationRequest(prompt(chat_engine, "Name a colour."), 12, GREEDY, logprobs=5)
    seen = events(chat_engine.submit(request))
    entries = [entry for event in seen if isinstance(event, Text) for entry in event.logprobs]
    text = "".join(event.text for event in seen if isinstance(event, Text))
    assert chat_engine.vocabulary.text([entry.token for entry in entries]) == text
    for entry in entries:
        assert entry.top[0] == (entry.token, entry.logprob)  # greedy takes the likeliest
        values = [value for _, value in entry.top]
        assert values == sorted(values, reverse=True)
        assert len(values) == 5
        assert sum(math.exp(value) for value in values) <= 1.0001


def test_logprobs_do_not_change_the_answer(chat_engine: Engine) -> None:
    sampling = Sampling(seed=5, temperature=1.0)
    tokens = prompt(chat_engine, "Tell a story.")
    plain, told = (
        answer(chat_engine.submit(GenerationRequest(tokens, 24, sampling, logprobs=wanted)))[0] for wanted in (None, 3)
    )
    assert plain == told
