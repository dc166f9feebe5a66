"""`/prompts`: slugs, variables, rendering."""

from __future__ import annotations

import pytest

from tests.support.people import Person, person
from tests.support.running import Running


@pytest.fixture
def ann(api: Running) -> Person:
    return person(api)


def test_a_slug_is_made_of_the_name_and_names_with_the_same_slug_conflict(ann: Person) -> None:
    made = ann.make("/prompts", {"content": "x"}, name="Bremsbeläge (EU)")
    assert made["slug"] == "bremsbelage-eu"
    answer = ann.ask("POST", "/prompts", {"name": "bremsbelage eu", "content": "x"})
    assert (answer.status, answer.json["error"]["details"]["field"]) == (409, "slug")
    assert ann.make("/prompts", {"content": "x"}, name="刹车")["slug"].startswith("prompt-")
    assert ann.make("/prompts", {"content": "x"}, name="机油", slug="oil")["slug"] == "oil"


def test_variables_are_those_of_the_content(ann: Person) -> None:
    made = ann.make("/prompts", {"content": "{{a}} {{ b_2 }} {{a}} {{1}} {c} {{}} {{d e}}"})
    assert made["variables"] == ["a", "b_2"]
    changed = ann.ask("PATCH", f"/prompts/{made['id']}", {"content": "{{z}}"}).json
    assert changed["variables"] == ["z"]
    endless = "".join(f"{{{{v{number}}}}}" for number in range(101))
    assert ann.ask("PATCH", f"/prompts/{made['id']}", {"content": endless}).status == 400


def test_a_prompt_is_rendered_and_what_is_filled_in_is_left_alone(ann: Person) -> None:
    made = ann.make("/prompts", {"content": "What {{part}} fit {{ n }} {{car}}? {{ok}}"})
    values = {"part": "{{car}}", "n": 2, "car": "\\1 Civics", "ok": True}
    rendered = ann.ask("POST", f"/prompts/{made['id']}/render", {"variables": values})
    assert rendered.json == {"prompt_id": made["id"], "text": "What {{car}} fit 2 \\1 Civics? true"}


def test_every_missing_variable_is_named_and_unknown_ones_are_refused(ann: Person) -> None:
    where = f"/prompts/{ann.make('/prompts', {'content': '{{a}} {{b}} {{c}}'})['id']}/render"
    missing = ann.ask("POST", where, {"variables": {"b": "x"}})
    assert missing.status == 422
    assert missing.json["error"]["details"] == {
        "missing": ["a", "c"],
        "field": "variables.a",
        "constraint": "required",
    }
    unknown = ann.ask("POST", where, {"variables": {"a": "", "b": "", "c": "", "d": ""}})
    assert (unknown.status, unknown.json["error"]["details"]["field"]) == (400, "variables.d")


def test_prompts_are_listed_by_tag(ann: Person) -> None:
    one = ann.make("/prompts", {"content": "x", "tags": ["brakes", "eu", "brakes"]})
    ann.make("/prompts", {"content": "x", "tags": ["brakes-eu"]})
    assert one["tags"] == ["brakes", "eu"]
    assert [prompt["id"] for prompt in ann.ask("GET", "/prompts?tag=brakes").json["data"]] == [one["id"]]
