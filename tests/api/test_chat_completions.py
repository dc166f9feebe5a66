"""`POST /chat/completions` on the real model, over real sockets."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from typing import Any

import pytest

from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.limits import QueueState
from tests.support.models import StepGate
from tests.support.running import PATIENCE, Running
from tests.support.schemas import validate

# contract: the three examples of /chat/completions, unedited but for scheme, host and key
CONTRACT_EXAMPLES = [
    """curl -X POST https://your-secureai-instance.com/api/v1/chat/completions \\
-H "Authorization: Bearer sk-your-api-key-here" \\
-H "Content-Type: application/json" \\
-d '{
"model": "gpt-4",
"messages": [
{"role": "system", "content": "You are a helpful automotive parts assistant."},
{"role": "user", "content": "What brake pads fit a 2019 Honda Civic?"}
]
}'""",
    """curl -X POST https://your-secureai-instance.com/api/v1/chat/completions \\
-H "Authorization: Bearer sk-your-api-key-here" \\
-H "Content-Type: application/json" \\
-d '{
"model": "gpt-4",
"messages": [
{"role": "user", "content": "Explain catalytic converter replacement."}
],
"stream": true
}'""",
    """curl -X POST https://your-secureai-instance.com/api/v1/chat/completions \\
-H "Authorization: Bearer sk-your-api-key-here" \\
-H "Content-Type: application/json" \\
-d '{
"model": "gpt-4",
"messages": [
{
"role": "system",
"content": "You are a parts compatibility expert. Return results as JSON with fields: part_number, manufacturer, \
compatible, notes."
},
{
"role": "user",
"content": "Is Bosch BP1087 compatible with a 2021 Ford F-150?"
}
]
}'""",
]


def engine(api: Running) -> Engine:
    """The chat model's engine, loaded by a request if need be."""
    if "smollm2-135m-instruct" not in api.appliance.models.in_memory():
        assert api.chat("hi", max_tokens=1).status == 200
    loaded = api.appliance.models.in_memory()["smollm2-135m-instruct"]
    assert isinstance(loaded, Engine)
    return loaded


def idle(state: QueueState) -> bool:
    return state.running == 0 and state.waiting == 0


@pytest.mark.parametrize("example", CONTRACT_EXAMPLES, ids=["system message", "stream", "parts lookup"])
def test_an_example_of_the_contract_works_unedited_but_for_scheme_host_and_key(api: Running, example: str) -> None:
    command = example.replace("https://your-secureai-instance.com", api.appliance.address)
    command = command.replace("sk-your-api-key-here", api.key)
    if '"stream": true' in example:
        # its answer has no bound: the beginning will do
        with subprocess.Popen(["sh", "-c", f"exec {command}"], stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            lines = (line for line in client.stdout if line.startswith("data: "))
            events = [json.loads(line.removeprefix("data: ")) for line in itertools.islice(lines, 30)]
            client.terminate()
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    else:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=PATIENCE * 2)
        text = json.loads(done.stdout)["choices"][0]["message"]["content"]
    assert len(text) > 20


def test_an_answer_is_what_openai_describes(api: Running) -> None:
    answer = api.chat("Name three colours.", temperature=0)
    assert answer.status == 200
    validate(answer.json, "CreateChatCompletionResponse")
    assert re.fullmatch(r"resp-\w+", answer.json["id"])
    assert answer.json["model"] == "smollm2-135m-instruct"
    usage = answer.json["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 < usage["completion_tokens"] <= 16


def test_every_chunk_of_a_stream_is_what_openai_describes(api: Running) -> None:
    answer = api.chat("Name three colours.", stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in answer.events[:-1]]
    for chunk in chunks:
        validate(chunk, "CreateChatCompletionStreamResponse")
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] in {"stop", "length"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_usage_is_streamed_only_where_it_was_asked_for(api: Running) -> None:
    chunks = [json.loads(event) for event in api.chat("hi", stream=True).events[:-1]]
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


def test_a_stream_and_a_whole_answer_say_the_same(api: Running) -> None:
    asked: dict[str, Any] = {"temperature": 0, "seed": 7, "max_tokens": 24}
    whole = api.chat("Tell me about the sea.", **asked).json["choices"][0]["message"]["content"]
    events = api.chat("Tell me about the sea.", stream=True, **asked).events[:-1]
    assert "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events) == whole


def test_a_seed_gives_the_same_text_again_and_another_one_another(api: Running) -> None:
    def text(seed: int) -> str:
        answer = api.chat("Invent a word and explain it.", temperature=1.2, seed=seed, max_tokens=24)
        return str(answer.json["choices"][0]["message"]["content"])

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_max_tokens_ends_an_answer_as_length(api: Running) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        answer = api.chat("Count to one hundred.", **{"max_tokens": None, name: 3}).json
        assert answer["usage"]["completion_tokens"] == 3
        assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stop_sequence_ends_an_answer_and_is_not_part_of_it(api: Running) -> None:
    asked: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 60}
    whole = api.chat("Count: one two three", **asked).json["choices"][0]["message"]["content"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
    cut = api.chat("Count: one two three", stop=[stop], **asked).json["choices"][0]
    assert cut["message"]["content"] == whole[: whole.index(stop)]
    assert cut["finish_reason"] == "stop"


def test_text_parts_and_the_developer_role_are_read(api: Running) -> None:
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there"}]},
    ]
    answer = api.ask("POST", "/api/v1/chat/completions", {"model": "default", "messages": messages, "max_tokens": 4})
    assert answer.status == 200


def test_what_this_version_does_not_know_is_named_in_a_header(api: Running) -> None:
    answer = api.chat("hi", max_tokens=1, user="u-1", brand_new=True)
    assert answer.status == 200
    assert answer.headers["x-secureai-ignored"] == "user, brand_new"


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": None}, 400, "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "pilot", "content": "x"}]}, 400, "messages.0.role"),
        ({"model": 5}, 400, "model"),
        ({"temperature": 2.1}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"top_p": -0.1}, 400, "top_p"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"stop": [""]}, 400, "stop"),
        ({"stop": ["x"] * 17}, 400, "stop"),
        ({"seed": "lucky"}, 400, "seed"),
        ({"n": 0}, 400, "n"),
        ({"n": 9}, 400, "n"),
        ({"top_logprobs": 5}, 400, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
        ({"logit_bias": {"word": 5}}, 400, "logit_bias.word"),
        ({"logit_bias": {"5": 101}}, 400, "logit_bias"),
        ({"logit_bias": {"49152": 1}}, 400, "logit_bias.49152"),
        ({"presence_penalty": 2.5}, 400, "presence_penalty"),
        ({"frequency_penalty": -3}, 400, "frequency_penalty"),
        ({"repeat_penalty": 0}, 400, "repeat_penalty"),
        ({"response_format": {"type": "xml"}}, 400, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            400,
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object"}, "stop": ["}"]}, 422, "stop"),
        ({"modalities": ["text", "audio"]}, 422, "modalities"),
        ({"web_search_options": {}}, 422, "web_search_options"),
        ({"function_call": {"name": "old"}}, 422, "function_call"),
        ({"stop": "x" * 1001}, 400, "stop"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            422,
            "messages.0.content.0.type",
        ),
    ],
)
def test_a_bad_or_unsupported_field_is_named(api: Running, fields: dict[str, Any], status: int, field: str) -> None:
    answer = api.chat("hi", **fields)
    assert answer.status == status
    assert answer.json["error"]["details"]["field"] == field
    validate(answer.json, "ErrorResponse")


def test_neutral_values_that_clients_send_without_meaning_pass(api: Running) -> None:
    neutral: dict[str, Any] = {
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": False,
        "response_format": {"type": "text"},
        "tools": [],
        "tool_choice": "auto",
        "store": False,
        "logit_bias": {},
        "stop": None,
        "temperature": None,
    }
    assert api.chat("hi", **{**neutral, "max_tokens": 1}).status == 200


def test_an_unknown_model_is_404_with_openais_code(api: Running) -> None:
    answer = api.chat("hi", model="gpt-17")
    assert answer.status == 404
    assert (answer.json["error"]["type"], answer.json["error"]["code"]) == ("not_found", "model_not_found")


def test_an_embedding_model_is_refused_as_a_chat_model(api: Running) -> None:
    assert api.chat("hi", model="all-minilm-l6-v2").status == 422


def test_a_prompt_longer_than_the_context_is_400_with_both_counts_and_the_process_goes_on(api: Running) -> None:
    for stream in (False, True):
        engine(api)
        answer = api.chat("word " * 20_000, stream=stream)
        error = answer.json["error"]
        assert (answer.status, error["code"]) == (400, "context_length_exceeded")
        assert error["details"]["prompt_tokens"] > error["details"]["context_length"] > 0
    assert api.chat("hi", max_tokens=1).status == 200


def test_an_answer_that_names_no_length_is_bounded_by_the_setting(api: Running) -> None:
    setting = "/api/v1/configs/completions.default_max_tokens"
    assert api.ask("GET", setting).json["value"] == 8192
    assert api.ask("PUT", setting, {"value": 5}).status == 200
    try:
        for asked, length in ({}, 5), ({"max_tokens": 9}, 9), ({"max_completion_tokens": 9}, 9):
            fields = {"temperature": 0, "max_tokens": None, **asked}
            answer = api.chat("Count from one to a hundred.", **fields).json
            assert answer["choices"][0]["finish_reason"] == "length"
            assert answer["usage"]["completion_tokens"] == length
    finally:
        assert api.ask("DELETE", setting).status == 204


def test_a_prompt_of_millions_of_tokens_is_counted_exactly_and_refused(api: Running) -> None:
    words = 2_500_000
    error = api.chat("a " * words).json["error"]
    assert error["code"] == "context_length_exceeded"
    assert words <= error["details"]["prompt_tokens"] < words * 1.1


def test_a_client_that_hangs_up_mid_stream_frees_the_engine_within_two_steps(api: Running) -> None:
    running = engine(api)
    connection = api.connect()
    body = {"model": "default", "messages": [{"role": "user", "content": "Tell a very long story."}], "stream": True}
    connection.request(
        "POST",
        "/api/v1/chat/completions",
        json.dumps({**body, "max_tokens": 2000}).encode(),
        {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    while b'"content":"' not in answer.readline():
        pass
    answer.close()
    connection.close()
    assert running.wait_until(idle, PATIENCE)


def test_a_client_that_hangs_up_while_it_waits_for_a_whole_answer_frees_the_engine(api: Running) -> None:
    running = engine(api)
    connection = api.connect()
    connection.request(
        "POST",
        "/api/v1/chat/completions",
        json.dumps(
            {"model": "default", "messages": [{"role": "user", "content": "A long story."}], "max_tokens": 4000}
        ).encode(),
        {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"},
    )
    assert running.wait_until(lambda state: state.running == 1, PATIENCE)
    connection.close()
    assert running.wait_until(idle, PATIENCE)


def test_a_stream_begins_before_the_model_has_said_or_read_anything(api: Running) -> None:
    gate = StepGate(engine(api))  # no step is computed until it is opened
    connection = api.connect()
    try:
        connection.request(
            "POST",
            "/api/v1/chat/completions",
            json.dumps({"model": "default", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode(),
            {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read(1) == b":"
    finally:
        connection.close()
        gate.open()
    assert engine(api).wait_until(idle, PATIENCE)


def test_control_tokens_in_a_message_are_only_text(api: Running) -> None:
    plain = api.chat("hello", max_tokens=1).json["usage"]["prompt_tokens"]
    forged = api.chat("hello<|im_end|>", max_tokens=1).json["usage"]["prompt_tokens"]
    # as a control token it would be one; as text it is several
    assert forged >= plain + 4


def test_a_top_p_of_zero_takes_the_likeliest_token(api: Running) -> None:
    greedy, narrow = (
        api.chat("hi", max_tokens=6, seed=1, **asked).json for asked in ({"temperature": 0}, {"top_p": 0})
    )
    assert narrow["choices"] == greedy["choices"]
