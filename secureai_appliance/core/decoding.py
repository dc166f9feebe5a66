"""From parsed JSON or a query to a struct, and from msgspec's words to ours.

msgspec says "Expected `int` >= 1 - at `$.n`"; a caller reads "The 'n' field must be at least 1." with `details` that
name the field (dotted path) and the constraint (one word). One table holds all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from secureai_appliance.core.errors import ValidationError

T = TypeVar("T", bound=msgspec.Struct)

_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>\d+)\]")

_DIGITS = re.compile("-?[0-9]+", re.ASCII)

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}

# message of msgspec → (what is wrong, constraint); {0}, {1} are the groups
_TABLE: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), text, constraint)
    for pattern, text, constraint in (
        (r"Object missing required field `(.*)`", "is required.", "required"),
        (r"Object contains unknown field `(.*)`", "is not known here.", "unknown"),
        (r"Expected `(?:int|float)` >= (\S+)", "must be at least {0}.", "minimum"),
        (r"Expected `(?:int|float)` <= (\S+)", "must be at most {0}.", "maximum"),
        (r"Expected `(?:int|float)` > (\S+)", "must be greater than {0}.", "minimum"),
        (r"Expected `(?:int|float)` < (\S+)", "must be less than {0}.", "maximum"),
        (r"Expected `(?:int|float)` that's a multiple of (\S+)", "must be a multiple of {0}.", "multiple_of"),
        (r"Expected `str` of length >= (\d+)", "must have at least {0} characters.", "min_length"),
        (r"Expected `str` of length <= (\d+)", "must have at most {0} characters.", "max_length"),
        (r"Expected `(?:array|object)` of length >= (\d+)", "must have at least {0} items.", "min_items"),
        (r"Expected `(?:array|object)` of length <= (\d+)", "must have at most {0} items.", "max_items"),
        (r"Expected `array` of (?:at least )?length (\d+).*", "must have {0} items.", "items"),
        (r"Expected `array` of length (\d+) to (\d+).*", "must have {0} to {1} items.", "items"),
        # (?!\s)$ is what $ alone means to everybody but Python
        (r"Expected `str` matching regex '(.*?)(?:\(\?!\\+s\)\$)?'", "must match the pattern {0}.", "pattern"),
        (r"Invalid (?:enum )?value .*", "has a value that is not one of those allowed.", "enum"),
        (r"Expected `(.*)`, got `(.*)`", "must be {0}, not {1}.", "type"),
    )
)


@dataclass(frozen=True)
class Place:
    """What a message calls the thing that is wrong: a `field` of a body, a `parameter` of a query."""

    noun: str
    whole: str


FIELD = Place("field", "The body")
PARAMETER = Place("parameter", "The query")


def convert(value: Any, kind: type[T], place: Place, *, strict: bool = True) -> T:
    """`value` as a struct, of text too unless `strict`. Raises ValidationError with the field and the constraint."""
    if not strict:
        _check_numbers(value, kind, place)
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as cause:
        raise explain(str(cause), place) from cause


def _check_numbers(value: dict[str, Any], kind: type[msgspec.Struct], place: Place) -> None:
    """Whole numbers are digits: msgspec takes `1e3` and `1.0` for them too."""
    for name in _whole_numbers(kind):
        text = value.get(name)
        if isinstance(text, str) and not _DIGITS.fullmatch(text):
            raise explain(f"Expected `int`, got `str` - at `$.{name}`", place)


@cache
def _whole_numbers(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    info = inspect.type_info(kind)
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return tuple(field.encode_name for field in fields if _takes_int(field.type))


def _takes_int(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):  # it has a description
        return _takes_int(kind.type)
    members = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return any(isinstance(member, inspect.IntType) for member in members)


def explain(message: str, place: Place = FIELD, within: Sequence[str] = ()) -> ValidationError:
    """The failure that msgspec's `message` stands for. `within`: where in the body the value stands."""
    match = _PATH.match(message)
    what, path = (match["what"], match["path"] or "") if match else (message, "")
    steps = [*within]
    steps += [step["name"] or step["index"] for step in _STEP.finditer(path.replace("[...]", ""))]
    for pattern, text, constraint in _TABLE:
        found = pattern.fullmatch(what)
        if found is None:
            continue
        groups = [_words(group) for group in found.groups()] if constraint == "type" else list(found.groups())
        if constraint in {"required", "unknown"}:
            steps.append(groups[0])
        return _failure(steps, text.format(*groups), constraint, place)
    return _failure(steps, "has a value that is not allowed.", "invalid", place)


def _failure(steps: list[str], text: str, constraint: str, place: Place) -> ValidationError:
    field = ".".join(steps)
    if not field:
        return ValidationError(f"{place.whole} {text}", constraint=constraint)
    # a name that the caller made up is repeated to them, but not without bound
    shown = field if len(field) <= 200 else field[:200] + "…"
    return ValidationError(f"The '{shown}' {place.noun} {text}", field=shown, constraint=constraint)


def _words(types: str) -> str:
    names = [_WORDS.get(name.strip(), name.strip()) for name in types.split("|")]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


@dataclass(frozen=True)
class Known:
    """The field names that a struct knows, and those of the structs inside it."""

    names: frozenset[str]
    inside: dict[str, Known]


@cache
def known_fields(kind: type[msgspec.Struct]) -> Known:
    """What `kind` knows, one level of objects and lists of objects deep."""
    return _known(kind, deeper=True)


def _known(kind: type[msgspec.Struct], *, deeper: bool) -> Known:
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{kind.__name__} is no struct")
    inside = {}
    for field in info.fields if deeper else ():
        struct = _struct_inside(field.type)
        if struct is not None:
            inside[field.encode_name] = _known(struct, deeper=False)
    return Known(frozenset(field.encode_name for field in info.fields), inside)


def _struct_inside(kind: inspect.Type) -> type[msgspec.Struct] | None:
    """The one struct that a field holds, alone, in a list or beside other types; None where there are several."""
    if isinstance(kind, inspect.UnionType):
        found = {struct for member in kind.types if (struct := _struct_inside(member)) is not None}
        return found.pop() if len(found) == 1 else None
    if isinstance(kind, inspect.ListType):
        return _struct_inside(kind.item_type)
    return kind.cls if isinstance(kind, inspect.StructType) else None


def unknown_fields(value: dict[str, Any], known: Known) -> list[str]:
    """The names in `value` that nobody reads, as dotted paths without list positions, each once."""
    found = dict.fromkeys(name for name in value if name not in known.names)
    for name, inside in known.inside.items():
        members = value.get(name)
        for member in members if isinstance(members, list) else [members]:
            if isinstance(member, dict):
                found.update(dict.fromkeys(f"{name}.{inner}" for inner in member if inner not in inside.names))
    return list(found)
