"""Tools over HTTP, on the real model, and the OpenAI client's own loop."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from secureai_appliance.conversations import tools
from secureai_appliance.conversations.messages import Tool, ToolFunction
from secureai_appliance.inference.template import ChatTemplate
from tests.support.running import PATIENCE, Response, Running
from tests.support.schemas import validate

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Rome", "Paris"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "get_time", "description": "The time"}}
QUESTION = "What is the weather in Rome?"


def ask(api: Running, **fields: Any) -> Response:
    return api.chat(QUESTION, **{"tools": [WEATHER, CLOCK], "max_tokens": 100, "temperature": 0, "seed": 1, **fields})


def test_a_required_call_has_openais_shape_and_arguments_that_fit(api: Running) -> None:
    answer = ask(api, tool_choice="required").json
    validate(answer, "CreateChatCompletionResponse")
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    for call in choice["message"]["tool_calls"]:
        assert call["id"].startswith("call-")
        assert call["function"]["name"] in {"get_weather", "get_time"}
        json.loads(call["function"]["arguments"])


def test_a_named_function_is_the_one_that_is_called_once_where_calls_may_not_be_parallel(api: Running) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = ask(api, tool_choice=named, parallel_tool_calls=False, temperature=1.0, seed=4).json
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_weather"]
    arguments = json.loads(calls[0]["function"]["arguments"])
    assert arguments["city"] in {"Rome", "Paris"}
    assert 1 <= arguments["days"] <= 7


def test_a_streamed_call_comes_in_openais_deltas_and_says_the_same(api: Running) -> None:
    asked: dict[str, Any] = {"tool_choice": "required", "parallel_tool_calls": False}
    whole = ask(api, **asked).json["choices"][0]["message"]["tool_calls"][0]["function"]
    chunks = [json.loads(event) for event in ask(api, stream=True, **asked).events[:-1]]
    for chunk in chunks:
        validate(chunk, "CreateChatCompletionStreamResponse")
    parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert parts[0]["type"] == "function"
    assert parts[0]["function"] == {"name": whole["name"], "arguments": ""}
    assert "".join(part["function"]["arguments"] for part in parts) == whole["arguments"]
    assert {part["index"] for part in parts} == {0}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_without_being_forced_the_model_may_answer_with_text(api: Running) -> None:
    for choice in ("auto", None):
        answer = ask(api, tool_choice=choice, max_tokens=24).json
        validate(answer, "CreateChatCompletionResponse")
        message = answer["choices"][0]["message"]
        assert message["content"] or message["tool_calls"]


def test_the_choice_none_leaves_the_tools_out_of_the_prompt(api: Running) -> None:
    none = ask(api, tool_choice="none", max_tokens=1).json
    assert none["usage"]["prompt_tokens"] == api.chat(QUESTION, max_tokens=1).json["usage"]["prompt_tokens"]
    assert "tool_calls" not in none["choices"][0]["message"]
    assert none["usage"]["prompt_tokens"] < ask(api, tool_choice="auto", max_tokens=1).json["usage"]["prompt_tokens"]


def test_a_call_that_max_tokens_cuts_is_told_as_length(api: Running) -> None:
    choice = ask(api, tool_choice="required", max_tokens=5).json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert "tool_calls" not in choice["message"]


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"tool_choice": "required", "tools": []}, 400, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "none"}}}, 400, "tool_choice"),
        ({"tool_choice": "sometimes"}, 400, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, 400, "tools.1.function.name"),
        ({"tools": [{"type": "function", "function": {"name": "bad name"}}]}, 400, "tools.0.function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, 400, "tools.0.type"),
        ({"response_format": {"type": "json_object"}}, 422, "response_format"),
        ({"stop": ["x"]}, 422, "stop"),
        ({"functions": [{"name": "old"}]}, 422, "functions"),
    ],
)
def test_a_bad_request_names_its_field(api: Running, fields: dict[str, Any], status: int, field: str) -> None:
    answer = ask(api, **fields)
    assert answer.status == status, answer.json
    assert answer.json["error"]["details"]["field"].startswith(field)


def test_a_strict_function_with_a_keyword_that_is_not_enforced_is_422_and_a_lax_one_is_called(api: Running) -> None:
    def dated(strict: bool) -> dict[str, Any]:
        parameters = {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}
        return {"type": "function", "function": {"name": "plan", "strict": strict, "parameters": parameters}}

    refused = ask(api, tools=[dated(True)])
    assert refused.status == 422
    assert refused.json["error"]["details"]["field"] == "tools.0.function.parameters.properties.day.format"
    assert ask(api, tools=[dated(False)], tool_choice="required").status == 200


def test_messages_of_earlier_calls_are_read_and_bad_ones_named(api: Running) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
    ]
    assert ask(api, messages=messages, max_tokens=4).status == 200
    assert ask(api, messages=messages, max_tokens=4, tools=None).status == 200
    missing = [*messages[:2], {"role": "tool", "content": "Rain."}]
    assert ask(api, messages=missing).json["error"]["details"]["field"] == "messages.2.tool_call_id"
    broken = [{**messages[1], "tool_calls": [{**call, "function": {"name": "x", "arguments": "["}}]}]
    assert ask(api, messages=broken).json["error"]["details"]["field"] == "messages.0.tool_calls.0.function.arguments"


def test_the_openai_clients_tool_loop_runs_with_the_bundled_model(api: Running) -> None:
    client = openai.OpenAI(base_url=api.base_url, api_key=api.key, max_retries=0, timeout=PATIENCE)
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    asked: dict[str, Any] = {"model": "gpt-4", "tools": [WEATHER], "max_tokens": 100, "temperature": 0, "seed": 1}
    first = client.chat.completions.create(
        messages=messages, tool_choice="required", parallel_tool_calls=False, **asked
    )
    message = first.choices[0].message
    assert message.tool_calls
    messages.append(message)
    for call in message.tool_calls:
        assert call.type == "function"
        city = json.loads(call.function.arguments)["city"]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"It rains in {city}."})
    last = client.chat.completions.create(messages=messages, **{**asked, "tool_choice": "none"})
    assert last.choices[0].message.content
    with client.chat.completions.stream(messages=messages[:1], tool_choice="required", **asked) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls


def test_control_tokens_in_tools_and_arguments_are_only_text(api: Running) -> None:
    def tokens(word: str) -> int:
        parameters = {"type": "object", "properties": {"role": {"type": "string", "description": word}}}
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        return int(ask(api, tools=[tool], max_tokens=1).json["usage"]["prompt_tokens"])

    assert tokens("x<|im_end|>") >= tokens("x") + 4


def test_a_role_inside_a_tool_is_not_taken_for_the_messages_own() -> None:
    template = ChatTemplate("{{ messages[0].role }}{{ tools | tojson }}", "", "", ("<|end|>",))
    parameters = {"properties": {"role": {"role": "<|end|>"}}}
    segments = tools.render(
        ChatTemplate(template.source + "<tool_call>", "", "", ("<|end|>",)),
        [{"role": "user", "content": "x"}],
        [Tool(type="function", function=ToolFunction(name="f", parameters=parameters))],
    )
    assert [segment.trusted for segment in segments if "<|end|>" in segment.text] == [False]


def test_mistrals_templates_get_ids_that_they_take() -> None:
    source = "{{ tools }}[TOOL_CALLS]{% for m in messages %}{{ m.tool_call_id or m.tool_calls[0].id }},{% endfor %}"
    call = {"id": "call-with-a-long-id", "type": "function", "function": {"name": "f", "arguments": {}}}
    segments = tools.render(
        ChatTemplate(source, "", ""),
        [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "x", "tool_call_id": call["id"]},
        ],
        [Tool(type="function", function=ToolFunction(name="f"))],
    )
    one, two = "".join(segment.text for segment in segments).partition("[TOOL_CALLS]")[2].split(",")[:2]
    assert one == two
    assert len(one) == 9
    assert one.isalnum()
