"""`POST /completions`, `POST /tokenize` and `truncation` over HTTP."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.support.running import PATIENCE, Response, Running

OWN = "smollm2-135m-instruct"


def complete(api: Running, prompt: Any, **fields: Any) -> Response:
    return api.ask(
        "POST", "/api/v1/completions", {"model": "gpt-4", "prompt": prompt, "temperature": 0, "seed": 1, **fields}
    )


def tokens(api: Running, **fields: Any) -> Response:
    return api.ask("POST", "/api/v1/tokenize", {"model": OWN, **fields})


def test_a_text_is_continued_whole_and_streamed_alike(api: Running) -> None:
    whole = complete(api, "The capital of France is").json
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 16
    events = complete(api, "The capital of France is", stream=True, stream_options={"include_usage": True}).events
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(part["text"] for chunk in chunks for part in chunk["choices"]) == whole["choices"][0]["text"]
    assert chunks[-1]["usage"]["completion_tokens"] == 16
    assert chunks[-1]["choices"] == []


def test_several_prompts_and_choices_are_numbered_through(api: Running) -> None:
    answer = complete(api, ["One", "Two two"], n=2, max_tokens=3, echo=True).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["text"][:3] for choice in answer["choices"]] == ["One", "One", "Two", "Two"]
    counts = [len(tokens(api, input=text).json["tokens"]) for text in ("One", "Two two")]
    assert answer["usage"]["prompt_tokens"] == sum(counts)


def test_tokens_are_taken_under_the_models_own_name_alone(api: Running) -> None:
    ids = tokens(api, input="The capital of France is").json["tokens"]
    text = complete(api, "The capital of France is").json["choices"][0]["text"]
    assert complete(api, ids, model=OWN).json["choices"][0]["text"] == text
    assert complete(api, [ids], model=OWN).json["choices"][0]["text"] == text
    assert complete(api, ids).status == 422


def test_logprobs_come_in_lists_side_by_side(api: Running) -> None:
    choice = complete(api, "Once upon", logprobs=2, max_tokens=4).json["choices"][0]
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == choice["text"]
    assert all(len(values) == 4 for values in told.values())
    assert all(len(top) == 2 for top in told["top_logprobs"])
    assert told["text_offset"] == [sum(map(len, told["tokens"][:at])) for at in range(4)]


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": ["a", 1]}, 400, "prompt.1"),
        ({"prompt": ["a"] * 33}, 400, "prompt"),
        ({"prompt": [10**9], "model": OWN}, 400, "prompt"),
        ({"suffix": "end"}, 422, "suffix"),
        ({"best_of": 3}, 422, "best_of"),
        ({"echo": True, "logprobs": 1}, 422, "echo"),
        ({"logprobs": 6}, 400, "logprobs"),
        ({"model": "all-minilm-l6-v2"}, 422, None),
    ],
)
def test_a_bad_text_completion_names_its_field(
    api: Running, fields: dict[str, Any], status: int, field: str | None
) -> None:
    answer = complete(api, **{"prompt": "x", **fields})
    assert answer.status == status
    assert answer.json["error"]["details"].get("field") == field


def test_the_openai_client_continues_a_text(api: Running) -> None:
    client = openai.OpenAI(base_url=api.base_url, api_key=api.key, max_retries=0, timeout=PATIENCE)
    answer = client.completions.create(model="gpt-4", prompt="Hello", max_tokens=4, logprobs=1)
    assert answer.choices[0].text
    streamed = client.completions.create(model="gpt-4", prompt="Hello", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices)


def test_tokenize_counts_what_a_completion_will(api: Running) -> None:
    messages = [{"role": "user", "content": "How many tokens are these?"}]
    counted = tokens(api, messages=messages).json
    assert counted["count"] == len(counted["tokens"])
    assert counted["context_length"] > counted["count"]
    used = api.chat("How many tokens are these?", max_tokens=1).json["usage"]["prompt_tokens"]
    assert counted["count"] == used
    tool = {"type": "function", "function": {"name": "f"}}
    assert tokens(api, messages=messages, tools=[tool]).json["count"] > used


def test_tokenize_takes_either_text_or_messages_and_works_for_embedding_models(api: Running) -> None:
    assert tokens(api).status == 400
    assert tokens(api, input="x", messages=[{"role": "user", "content": "x"}]).status == 400
    assert tokens(api, input="").json["tokens"] == []
    assert tokens(api, input="hello", model="all-minilm-l6-v2").json["count"] >= 1
    assert tokens(api, messages=[{"role": "user", "content": "x"}], model="all-minilm-l6-v2").status == 422
    assert tokens(api, input="x", model="none").status == 404


def test_truncation_leaves_out_the_oldest_turns_and_tells_which(api: Running) -> None:
    long = [
        {"role": "system", "content": "Be brief."},
        *(
            {"role": role, "content": f"{role} {turn} " + "word " * 1500}
            for turn in range(4)
            for role in ("user", "assistant")
        ),
        {"role": "user", "content": "And now?"},
    ]
    assert api.chat("", messages=long, max_tokens=4).status == 400
    assert (
        api.chat("", messages=long, max_tokens=4, truncation="disabled").json["error"]["code"]
        == "context_length_exceeded"
    )
    answer = api.chat("", messages=long, max_tokens=4, truncation="auto").json
    dropped = answer["truncation"]["dropped_messages"]
    assert dropped
    assert dropped == list(range(1, len(dropped) + 1))
    assert answer["truncation"]["original_prompt_tokens"] > 4 * answer["usage"]["prompt_tokens"]
    chunks = [
        json.loads(e) for e in api.chat("", messages=long, max_tokens=4, truncation="auto", stream=True).events[:-1]
    ]
    assert chunks[0]["truncation"]["dropped_messages"] == dropped
    assert all("truncation" not in chunk for chunk in chunks[1:])


def test_truncation_of_what_fits_drops_nothing_and_of_one_long_message_is_still_an_error(api: Running) -> None:
    assert api.chat("hi", max_tokens=1, truncation="auto").json["truncation"]["dropped_messages"] == []
    assert "truncation" not in api.chat("hi", max_tokens=1).json
    assert api.chat("word " * 9000, truncation="auto").json["error"]["code"] == "context_length_exceeded"
