from __future__ import annotations

from typing import Any

import pytest

from secureai_appliance.conversations import structured
from secureai_appliance.conversations.toolbox import parameters
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.core.errors import UnprocessableEntity


def _of(q: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"q": q}, **more}


def test_references_that_fan_out_are_checked_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured, "MOST_SECONDS_OF_A_CHECK", 0.05)
    twice = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(60)}
    schema = _of({"$ref": "#/$defs/d0"}, **{"$defs": {**twice, "d60": {"type": "string"}}})
    parameters.check_schema(schema, "parameters")
    with pytest.raises(ToolFailure, match="too long"):
        parameters.check_arguments({"q": "a"}, schema)


def test_a_long_list_is_looked_through_for_what_is_there_twice_in_one_go() -> None:
    schema = _of({"type": "array", "uniqueItems": True})
    many = [{"number": at} for at in range(20_000)]
    parameters.check_arguments({"q": many}, schema)
    with pytest.raises(ToolFailure):
        parameters.check_arguments({"q": [*many, {"number": 0}]}, schema)


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ([1, True, "1", [1], None, 0, False], True),
        ([1, 1.0], False),
        ([{"a": 1, "b": 2}, {"b": 2.0, "a": 1}], False),
        ([[1, 2], [2, 1]], True),
        ([[], {}], True),
    ],
)
def test_what_is_the_same_is_what_json_schema_calls_so(items: list[Any], unique: bool) -> None:
    schema = _of({"type": "array", "uniqueItems": True})
    if unique:
        parameters.check_arguments({"q": items}, schema)
        return
    with pytest.raises(ToolFailure):
        parameters.check_arguments({"q": items}, schema)


@pytest.mark.parametrize("reference", ["#/nope", "#/$defs/none", "#nowhere", "#/type", "#/%ff"])
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(UnprocessableEntity):
        parameters.check_schema(_of({"$ref": reference}), "parameters")


def test_references_in_the_schema_are_followed() -> None:
    schema = _of({"$ref": "#/$defs/a~1b"}, **{"$defs": {"a/b": {"type": "integer"}}})
    parameters.check_schema(schema, "parameters")
    parameters.check_arguments({"q": 1}, schema)
    with pytest.raises(ToolFailure):
        parameters.check_arguments({"q": "1"}, schema)


def test_a_reference_that_is_not_there_is_a_failure_and_no_defect() -> None:
    with pytest.raises(ToolFailure):
        parameters.check_arguments({"q": 1}, _of({"$ref": "#/nope"}))
