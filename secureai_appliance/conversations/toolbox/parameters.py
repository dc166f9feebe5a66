"""JSON schemas of tools' arguments: which are taken, and the check of what a model calls with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from secureai_appliance.conversations import structured
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.core.errors import UnprocessableEntity
from secureai_appliance.inference import patterns

_MOST_BYTES = 64 * 1024
_DEEPEST = 64
# each looks something up elsewhere, or lets a pattern run that nobody bounded
_REFUSED = frozenset({"$dynamicRef", "$recursiveRef", "$id", "$schema", "patternProperties"})


def check_schema(schema: dict[str, Any], field: str) -> None:
    """Raise UnprocessableEntity unless arguments can be checked against it, here and in bounded time.

    More is taken than can be enforced while a model writes: what is not enforced is checked before the call.
    """
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    # a server's own has not passed through the door at which bodies are measured
    if _is_deeper(schema, _DEEPEST):
        raise _refused(field, f"The schema has more than {_DEEPEST} levels.", "max_depth")
    if len(json.dumps(schema)) > _MOST_BYTES:
        raise _refused(field, "The schema has more than 64 KB.", "max_length")
    if schema.get("type") != "object":
        raise _refused(f"{field}.type", "The schema must be of an object: a function takes named arguments.", "const")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as cause:
        raise _refused(field, "This is no JSON schema.", "json_schema") from cause
    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for keyword, value in _keywords(schema):
        if keyword in _REFUSED:
            raise _refused(field, f"The keyword '{keyword}' is not taken in a tool's schema.", "supported")
        if keyword == "$ref" and not str(value).startswith("#"):
            raise _refused(field, "A '$ref' may only lead to a place in the same schema.", "supported")
        if keyword == "$ref" and not _leads_somewhere(resolver, str(value)):
            raise _refused(field, "A '$ref' leads to a place that the schema does not have.", "reference")
        if keyword == "pattern" and not is_readable(value):
            raise _refused(field, "A 'pattern' can't be checked in bounded time.", "supported")


def _leads_somewhere(resolver: Any, reference: str) -> bool:
    from referencing.exceptions import Unresolvable

    try:
        return isinstance(resolver.lookup(reference).contents, dict | bool)
    except (Unresolvable, ValueError, TypeError, LookupError):
        return False


def is_readable(pattern: object) -> bool:
    """Whether a pattern is one that is matched in bounded time."""
    try:
        patterns.read(str(pattern))
    except (ValueError, OverflowError, RecursionError):
        return False
    return True


def read_arguments(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a model wrote. Raises ToolFailure, in words that help it to write better ones."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as cause:
        raise ToolFailure("invalid_arguments", "The arguments are not JSON.") from cause
    if not isinstance(value, dict):
        raise ToolFailure("invalid_arguments", "The arguments must be an object.")
    check_arguments(value, schema)
    return value


def check_arguments(value: dict[str, Any], schema: dict[str, Any]) -> None:
    """Raise ToolFailure unless the schema allows these arguments."""
    try:
        structured.check_of(schema)(value)
    except (ValueError, RecursionError) as cause:
        # the library's words hold the value: they are the caller's own, and may be long
        raise ToolFailure("invalid_arguments", f"The arguments do not fit: {str(cause)[:300]}") from cause


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        inner = [each.values() if isinstance(each, dict) else each for each in layer if isinstance(each, dict | list)]
        layer = [item for items in inner for item in items]
    return any(isinstance(item, dict | list) for item in layer)


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object in it. Names of properties are among them; none is one of those that are looked for."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties" and isinstance(value, dict):
                for inner in value.values():
                    yield from _keywords(inner)
                continue
            if key not in {"enum", "const", "default", "examples", "example"}:
                yield key, value
                yield from _keywords(value)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _keywords(inner)


def _refused(field: str, message: str, constraint: str) -> UnprocessableEntity:
    return UnprocessableEntity(message, field=field, constraint=constraint, code="unsupported_schema")
