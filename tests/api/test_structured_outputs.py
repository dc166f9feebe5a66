"""`response_format` over HTTP, on the real model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pytest

from secureai_appliance.conversations import structured
from secureai_appliance.conversations.structured import JsonOutput, check_of
from secureai_appliance.core.errors import InternalError
from tests.support.json_schemas import REFUSED, Maker
from tests.support.running import PATIENCE, Response, Running
from tests.support.schemas import validate

PART = {
    "type": "object",
    "properties": {
        "part_number": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{4}$"},
        "compatible": {"type": "boolean"},
        "years": {"type": "array", "items": {"type": "integer", "minimum": 1990, "maximum": 2030}, "maxItems": 3},
    },
    "required": ["part_number", "compatible", "years"],
    "additionalProperties": False,
}


def ask(api: Running, schema: Any, **fields: Any) -> Response:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    return api.chat("Describe a brake pad.", **{"response_format": wanted, "max_tokens": 400, **fields})


def test_an_answer_fits_the_schema_whole_and_streamed(api: Running) -> None:
    # with a seed, because cells of the first request, taken over by the second, would round otherwise
    whole = ask(api, PART, temperature=0, seed=1).json
    validate(whole, "CreateChatCompletionResponse")
    assert whole["choices"][0]["finish_reason"] == "stop"
    jsonschema.validate(json.loads(whole["choices"][0]["message"]["content"]), PART)
    chunks = [json.loads(event) for event in ask(api, PART, temperature=0, seed=1, stream=True).events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]


def test_a_json_object_is_one(api: Running) -> None:
    answer = api.chat("A colour as JSON.", response_format={"type": "json_object"}, max_tokens=300, temperature=0).json
    choice = answer["choices"][0]
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)
    else:
        assert choice["message"]["content"].startswith("{")


def test_json_that_max_tokens_cuts_is_told_as_length(api: Running) -> None:
    assert ask(api, PART, max_tokens=4).json["choices"][0]["finish_reason"] == "length"


def test_json_comes_with_logprobs_and_several_choices(api: Running) -> None:
    answer = ask(api, PART, n=2, logprobs=True, temperature=1.0, seed=1).json
    validate(answer, "CreateChatCompletionResponse")
    for choice in answer["choices"]:
        jsonschema.validate(json.loads(choice["message"]["content"]), PART)
        told = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
        assert told.decode() == choice["message"]["content"]


@pytest.mark.parametrize("keyword", REFUSED)
def test_a_keyword_that_is_not_enforced_is_422_that_names_it(api: Running, keyword: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", keyword: REFUSED[keyword]}}}
    answer = ask(api, schema)
    error = answer.json["error"]
    assert answer.status == 422
    assert f"'{keyword}'" in error["message"]
    assert error["code"] == "unsupported_schema"
    assert error["details"]["keyword"] == keyword
    assert error["details"]["field"] == f"response_format.json_schema.schema.properties.a.{keyword}"


@pytest.mark.parametrize(
    "schema", [{"type": "strong"}, {"minItems": -1}, {"properties": []}, {"required": "a"}, {"anyOf": []}, {"enum": 5}]
)
def test_what_is_no_schema_is_422(api: Running, schema: Any) -> None:
    assert ask(api, schema).status == 422


def test_a_schema_that_repeats_too_much_for_the_engine_is_422_and_the_process_goes_on(api: Running) -> None:
    pattern = "^(([a-z]{0,200}){0,200}){0,200}$"
    assert ask(api, {"type": "string", "pattern": pattern}).status == 422
    assert api.chat("hi", max_tokens=1).status == 200


def test_an_answer_that_fails_its_check_is_not_given_as_one() -> None:
    output = JsonOutput(check_of(PART))
    output.feed('{"part_number": "AB1234"}')
    with pytest.raises(InternalError) as refusal:
        output.finish("stop")
    assert refusal.value.code == "invalid_output"
    assert JsonOutput(check_of(PART)).finish("length") == ([], "length")


def test_a_pattern_is_checked_in_bounded_time() -> None:
    with pytest.raises(ValueError, match="pattern"):
        check_of({"type": "string", "pattern": "^(a+)+$"})("a" * 300 + "b")
    assert structured.checked('"aa"', check_of({"type": "string", "pattern": "^(a+)+$"})) == "aa"


def test_the_openai_client_parses_into_a_model(api: Running) -> None:
    import pydantic

    class Part(pydantic.BaseModel):
        compatible: bool
        kind: str = pydantic.Field(json_schema_extra={"enum": ["pad", "disc"]})

    client = openai.OpenAI(base_url=api.base_url, api_key=api.key, max_retries=0, timeout=PATIENCE)
    answer = client.chat.completions.parse(
        model="gpt-4", messages=[{"role": "user", "content": "A brake pad."}], response_format=Part, max_tokens=100
    )
    assert answer.choices[0].message.parsed is not None
    assert answer.choices[0].message.parsed.kind in {"pad", "disc"}


def finished(api: Running, schema: Any) -> str:
    """The text of the first of five answers that ends: without a bound a small model may write on and on."""
    for seed in range(5):
        asked: dict[str, Any] = {"max_tokens": 400, "temperature": 0.8, "frequency_penalty": 0.3, "seed": seed}
        chunks = [json.loads(event) for event in ask(api, schema, stream=True, **asked).events[:-1]]
        if chunks[-1]["choices"][0]["finish_reason"] == "stop":
            return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    pytest.fail(f"no answer to {schema} ended")


def answers_fit(api: Running, count: int) -> None:
    maker = Maker(7)
    wanted = [maker.schema() for _ in range(count)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda schema: finished(api, schema), wanted))
    for schema, text in zip(wanted, answers, strict=True):
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


def test_answers_to_random_schemas_fit_them(api: Running) -> None:
    answers_fit(api, 8)


@pytest.mark.soak
def test_answers_to_two_hundred_random_schemas_fit_them(api: Running) -> None:
    answers_fit(api, 200)
