"""`/assistants`, and completions that are asked of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.core.ids import new_id
from tests.support.people import Person, person
from tests.support.running import Response, Running
from tests.support.scripted import Heard, Line, Scripted, scripted

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def say(_: Heard, line: Line) -> None:
    message = {"role": "assistant", "content": "Hello."}
    line.answer_json(
        200,
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE},
    )


@pytest.fixture(scope="module")
def other() -> Iterator[Scripted]:
    """A model's server that keeps what it was asked."""
    with scripted(say) as server:
        yield server


@pytest.fixture(scope="module")
def model(api: Running, other: Scripted) -> str:
    name = new_id("m").lower()
    remote = {"base_url": f"{other.url}/v1", "model": "theirs"}
    assert api.ask("POST", "/api/v1/models", {"name": name, "remote": remote}).status == 201
    return name


@pytest.fixture
def ann(api: Running) -> Person:
    return person(api, "admin")


def test_a_tool_that_is_deleted_is_no_assistants_any_more(ann: Person, api: Running) -> None:
    tools = [
        ann.ask("POST", "/tools", {"name": new_id("t"), "type": "builtin", "builtin": "calculator"}).json["id"]
        for _ in range(3)
    ]
    made = [
        ann.ask("POST", "/assistants", {"name": new_id("a"), "tool_ids": ids}).json["id"]
        for ids in (tools, tools[1:2], tools[2:])
    ]
    assert ann.ask("DELETE", f"/tools/{tools[1]}").status == 204
    left = [ann.ask("GET", f"/assistants/{id_}").json["tool_ids"] for id_ in made]
    assert left == [[tools[0], tools[2]], [], tools[2:]]
    [row] = api.ask("GET", f"/api/v1/auditlogs?action=tool.deleted&target={tools[1]}").json["data"]
    assert row["details"]["assistants"] == made[:2]


def chat(by: Person, text: str = "Hi", **fields: Any) -> Response:
    return by.ask("POST", "/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})


def sent(other: Scripted) -> dict[str, Any]:
    asked = [heard for heard in other.heard if heard.path.endswith("/chat/completions")]
    body: dict[str, Any] = asked[-1].json
    return body


def test_an_assistant_gives_model_system_prompt_and_parameters(ann: Person, model: str, other: Scripted) -> None:
    parameters = {"temperature": 0.2, "max_tokens": 50, "stop": ["END"]}
    made = ann.make("/assistants", {"model": model, "system_prompt": "Be brief.", "parameters": parameters})
    for name in (made["id"], made["slug"]):
        answer = chat(ann, model=name)
        assert answer.status == 200, answer.body
        assert answer.json["model"] == model
    asked = sent(other)
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert {name: asked[name] for name in parameters} == parameters
    assert not asked.keys() & {"assistant_id", "tools", "tool_choice"}


def test_what_the_request_says_wins(ann: Person, model: str, other: Scripted) -> None:
    parameters = {"temperature": 0.2, "max_tokens": 50, "seed": 4}
    made = ann.make("/assistants", {"system_prompt": "Be brief.", "parameters": parameters})
    theirs = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Hi"}]
    answer = chat(ann, assistant_id=made["id"], model=model, temperature=0.9, max_completion_tokens=9, messages=theirs)
    assert answer.status == 200, answer.body
    asked = sent(other)
    assert asked["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe long."}
    assert (asked["temperature"], asked["seed"], asked["max_completion_tokens"]) == (0.9, 4, 9)
    assert "max_tokens" not in asked


def test_assistant_id_takes_a_slug_and_needs_no_model(ann: Person, model: str) -> None:
    made = ann.make("/assistants", {"model": model})
    assert chat(ann, assistant_id=made["slug"]).status == 200
    missing = chat(ann, assistant_id="asst-none")
    assert (missing.status, missing.json["error"]["code"]) == (404, "assistant_not_found")
    nothing = chat(ann)
    assert nothing.status == 400
    assert nothing.json["error"]["message"] == "The 'model' field is required."


def test_names_resolve_to_models_first_then_ones_own_then_shared_then_everyones(
    ann: Person, model: str, other: Scripted
) -> None:
    bob, cyd = person(ann.api, "admin"), person(ann.api, "admin")
    slug = new_id("s").lower()

    def make(by: Person, says: str, **fields: Any) -> dict[str, Any]:
        return by.make("/assistants", {"model": model, "slug": slug, "system_prompt": says, **fields})

    def answers() -> str:
        assert chat(ann, model=slug).status == 200
        return str(sent(other)["messages"][0]["content"])

    assert chat(ann, model=slug).json["error"]["code"] == "model_not_found"
    make(bob, "everyone's", visibility="everyone")
    assert answers() == "everyone's"
    make(cyd, "shared", visibility="shared", shares=[{"user_id": ann.id}])
    assert answers() == "shared"
    make(ann, "own")
    assert answers() == "own"
    taken = ann.ask("POST", "/assistants", {"name": "x", "slug": model})
    assert (taken.status, taken.json["error"]["details"]["field"]) == (409, "slug")


def test_anothers_private_assistant_is_no_model_and_no_assistant(ann: Person, model: str) -> None:
    bob = person(ann.api)
    made = ann.make("/assistants", {"model": model})
    for fields in ({"model": made["id"]}, {"model": made["slug"]}, {"assistant_id": made["id"]}):
        assert chat(bob, **fields).status == 404


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"model": "no-such-model"}, 422, "model"),
        ({"model": "all-minilm-l6-v2"}, 422, "model"),
        ({"tool_ids": ["tool-none"]}, 422, "tool_ids.0"),
        ({"knowledge_base_ids": ["kb-none"]}, 422, "knowledge_base_ids.0"),
        ({"parameters": {"temperature": 3}}, 400, "parameters.temperature"),
        ({"parameters": {"temprature": 1}}, 400, "parameters.temprature"),
        ({"parameters": {"stop": [""]}}, 400, "parameters.stop"),
        ({"parameters": {"response_format": {"type": "json_schema"}}}, 400, "parameters.response_format.json_schema"),
    ],
)
def test_what_could_not_work_is_refused_by_name(ann: Person, fields: dict[str, Any], status: int, field: str) -> None:
    made = ann.make("/assistants", {})
    for answer in (
        ann.ask("POST", "/assistants", {"name": new_id("n"), **fields}),
        ann.ask("PATCH", f"/assistants/{made['id']}", fields),
    ):
        assert answer.status == status
        assert answer.json["error"]["details"]["field"] == field
    assert ann.ask("GET", f"/assistants/{made['id']}").json == made


def test_references_may_be_what_the_caller_can_use_and_nothing_of_others(ann: Person) -> None:
    bob = person(ann.api, "admin")
    tool = bob.make("/tools", {"type": "builtin", "builtin": "calculator"})
    answer = ann.ask("POST", "/assistants", {"name": new_id("n"), "tool_ids": [tool["id"]]})
    assert answer.status == 422
    bob.ask("PATCH", f"/tools/{tool['id']}", {"visibility": "everyone"})
    made = ann.make("/assistants", {"tool_ids": [tool["id"]]})
    # what is there already may stay, though only its owner can use it now
    bob.ask("PATCH", f"/tools/{tool['id']}", {"visibility": "private"})
    assert ann.ask("PATCH", f"/assistants/{made['id']}", {"tool_ids": [tool["id"]]}).status == 200


def test_the_list_of_models_has_assistants_when_it_is_asked_for_them(ann: Person) -> None:
    made = ann.make("/assistants", {"description": "Knows parts"})
    plain = ann.ask("GET", "/models?page_size=100").json
    assert made["id"] not in str(plain)
    both = ann.ask("GET", "/models?page_size=100&include=assistants").json
    assert both["total"] == len(both["data"]) > plain["total"]
    entry = next(model for model in both["data"] if model["id"] == made["id"])
    assert entry["assistant"] == {"name": made["name"], "slug": made["slug"], "description": "Knows parts"}
    assert entry["alias_of"] == "smollm2-135m-instruct"
    assert made["id"] not in str(person(ann.api).ask("GET", "/models?page_size=100&include=assistants").json)
    met, cursor = [], ""
    while cursor is not None:
        page = ann.ask("GET", f"/models?page_size=3&include=assistants&{f'cursor={cursor}' if cursor else ''}").json
        met += [model["id"] for model in page["data"]]
        cursor = page["next"]
    assert sorted(met) == sorted(model["id"] for model in both["data"])


def test_usage_and_the_chat_name_the_assistant(ann: Person, model: str) -> None:
    made = ann.make("/assistants", {"model": model})
    answer = chat(ann, model=made["slug"], store=True)
    assert ann.ask("GET", f"/chats/{answer.json['chat_id']}").json["assistant_id"] == made["id"]
    ann.api.appliance.usage.flush()
    rows = ann.ask("GET", "/me/usage?group_by=assistant").json["data"]
    assert made["id"] in str(rows)
