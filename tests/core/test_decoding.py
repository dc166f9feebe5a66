"""msgspec's messages, one by one: none may reach a caller untranslated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from secureai_appliance.core import decoding
from secureai_appliance.core.errors import ValidationError


class Inner(msgspec.Struct):
    role: Literal["a", "b"]


class One(msgspec.Struct, tag="one"):
    a: int


class Two(msgspec.Struct, tag="two"):
    a: int


class Everything(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    text: Annotated[str, Meta(min_length=1, max_length=3, pattern="^[a-z]+$")] = "a"
    count: Annotated[int, Meta(ge=1, le=5)] = 1
    ratio: Annotated[float, Meta(gt=0, lt=2)] = 1.0
    five: Annotated[int, Meta(multiple_of=5)] = 5
    items: Annotated[list[Inner], Meta(min_length=1, max_length=2)] = []
    pair: tuple[int, int] = (1, 1)
    table: Annotated[dict[str, int], Meta(max_length=1)] = {}
    keys: dict[int, int] = {}
    union: One | Two | None = None
    either: str | list[str] | None = None
    flag: bool = False


ENUM = " has a value that is not one of those allowed."
CASES: list[tuple[Any, str, str, str]] = [
    ([], "", "type", "The body must be an object, not a list."),
    ({"x": 1}, "x", "unknown", "The 'x' field is not known here."),
    ({"text": 1}, "text", "type", "The 'text' field must be a string, not a whole number."),
    ({"text": ""}, "text", "min_length", "The 'text' field must have at least 1 characters."),
    ({"text": "abcd"}, "text", "max_length", "The 'text' field must have at most 3 characters."),
    ({"text": "A"}, "text", "pattern", "The 'text' field must match the pattern ^[a-z]+$."),
    ({"count": 0}, "count", "minimum", "The 'count' field must be at least 1."),
    ({"count": 6}, "count", "maximum", "The 'count' field must be at most 5."),
    ({"ratio": 0}, "ratio", "minimum", "The 'ratio' field must be greater than 0.0."),
    ({"ratio": 2}, "ratio", "maximum", "The 'ratio' field must be less than 2.0."),
    ({"five": 3}, "five", "multiple_of", "The 'five' field must be a multiple of 5."),
    ({"items": []}, "items", "min_items", "The 'items' field must have at least 1 items."),
    ({"items": [1, 2, 3]}, "items", "max_items", "The 'items' field must have at most 2 items."),
    ({"items": [{}]}, "items.0.role", "required", "The 'items.0.role' field is required."),
    ({"items": [{"role": "c"}]}, "items.0.role", "enum", "The 'items.0.role' field" + ENUM),
    ({"pair": [1]}, "pair", "items", "The 'pair' field must have 2 items."),
    ({"table": {"a": 1, "b": 2}}, "table", "max_items", "The 'table' field must have at most 1 items."),
    ({"table": {"a": "1"}}, "table", "type", "The 'table' field must be a whole number, not a string."),
    ({"keys": {"q": 1}}, "keys", "type", "The 'keys' field must be a whole number, not a string."),
    ({"union": {}}, "union.type", "required", "The 'union.type' field is required."),
    ({"union": {"type": "x"}}, "union.type", "enum", "The 'union.type' field" + ENUM),
    ({"either": 5}, "either", "type", "The 'either' field must be a string, a list or null, not a whole number."),
    ({"flag": 1}, "flag", "type", "The 'flag' field must be true or false, not a whole number."),
]  # fmt: skip


@pytest.mark.parametrize(("value", "field", "constraint", "message"), CASES)
def test_a_message_names_the_field_and_the_constraint(value: Any, field: str, constraint: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        decoding.convert(value, Everything, decoding.FIELD)
    failure = caught.value
    assert (failure.message, failure.details.get("constraint")) == (message, constraint)
    assert failure.details.get("field", "") == field


def test_a_message_that_the_table_does_not_know_shows_nothing_of_itself() -> None:
    failure = decoding.explain("Something new `x` - at `$.a[1].b`")
    assert failure.message == "The 'a.1.b' field has a value that is not allowed."


def test_a_long_name_is_not_repeated_without_bound() -> None:
    with pytest.raises(ValidationError) as caught:
        decoding.convert({"x" * 100_000: 1}, Everything, decoding.FIELD)
    assert len(caught.value.message) < 300
