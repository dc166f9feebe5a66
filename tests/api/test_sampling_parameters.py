"""OpenAI's sampling parameters over HTTP."""

from __future__ import annotations

import json
import math
from typing import Any

from tests.support.running import Running
from tests.support.schemas import validate


def test_n_choices_come_whole_with_the_prompt_counted_once(api: Running) -> None:
    one = api.chat("Invent a word.", temperature=1.5, max_tokens=8).json["usage"]
    answer = api.chat("Invent a word.", n=3, temperature=1.5, seed=3, max_tokens=8).json
    validate(answer, "CreateChatCompletionResponse")
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 3
    assert answer["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] > 8


def test_n_choices_are_streamed_side_by_side(api: Running) -> None:
    answer = api.chat("Count.", n=2, stream=True, temperature=0, stream_options={"include_usage": True})
    chunks = [json.loads(event) for event in answer.events[:-1]]
    for chunk in chunks:
        validate(chunk, "CreateChatCompletionStreamResponse")
    texts = {0: "", 1: ""}
    reasons: dict[int, list[str]] = {0: [], 1: []}
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
            reasons[choice["index"]] += [choice["finish_reason"]] if choice["finish_reason"] else []
    assert texts[0] == texts[1] != ""
    assert all(len(seen) == 1 for seen in reasons.values())
    assert chunks[-1]["usage"]["completion_tokens"] >= 2


def test_logprobs_are_what_openai_describes_whole_and_streamed(api: Running) -> None:
    asked: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "temperature": 0, "seed": 1, "max_tokens": 8}
    answer = api.chat("Name a colour.", **asked).json
    validate(answer, "CreateChatCompletionResponse")
    content = answer["choices"][0]["logprobs"]["content"]
    text = b"".join(bytes(entry["bytes"]) for entry in content).decode()
    assert text == answer["choices"][0]["message"]["content"]
    assert all(len(entry["top_logprobs"]) == 2 and math.exp(entry["logprob"]) <= 1 for entry in content)
    chunks = [json.loads(event) for event in api.chat("Name a colour.", stream=True, **asked).events[:-1]]
    for chunk in chunks:
        validate(chunk, "CreateChatCompletionStreamResponse")
    streamed = [
        entry["token"] for chunk in chunks for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert streamed == [entry["token"] for entry in content]


def test_without_logprobs_there_are_none(api: Running) -> None:
    assert api.chat("hi", max_tokens=2).json["choices"][0]["logprobs"] is None


def test_a_bias_of_100_forces_a_token(api: Running) -> None:
    answer = api.chat("hi", logit_bias={"50": 100}, max_tokens=3, temperature=0, logprobs=True).json
    tokens = {entry["token"] for entry in answer["choices"][0]["logprobs"]["content"]}
    assert len(tokens) == 1


def test_penalties_are_taken(api: Running) -> None:
    asked: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 40}
    question = "Say cat cat cat cat cat cat cat cat cat cat"
    plain = api.chat(question, **asked).json["choices"][0]["message"]["content"]
    for name in ("presence_penalty", "frequency_penalty", "repeat_penalty"):
        assert api.chat(question, **asked, **{name: 2}).json["choices"][0]["message"]["content"] != plain
