"""Which keywords of JSON schema are enforced, and refusing all others by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_ITEMS = 256
MAX_STRING = 1024
MAX_ALTERNATIVES = 256
MAX_GRAMMAR_BYTES = 65_536

ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema"}
)
DEFINITIONS = ("$defs", "definitions")
OBJECT = frozenset({"properties", "required", "additionalProperties"})
ARRAY = frozenset({"items", "minItems", "maxItems"})
STRING = frozenset({"pattern", "minLength", "maxLength"})
NUMBER = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
KEYWORDS = frozenset({"type", "enum", "const", "anyOf", "$ref", *DEFINITIONS}) | OBJECT | ARRAY | STRING | NUMBER
"""Those that are enforced."""

Schema = dict[str, Any]


class UnsupportedSchema(ValueError):
    """A schema that can't be enforced: the keyword that is in the way, and where (a dotted path)."""

    def __init__(self, message: str, keyword: str, path: str) -> None:
        super().__init__(message)
        self.keyword = keyword
        self.path = path


def check_keywords(schema: Any, path: str = "") -> None:
    """Raises UnsupportedSchema for the first keyword, anywhere in `schema`, that is not enforced."""
    if isinstance(schema, bool):
        if not schema:
            raise UnsupportedSchema("The schema 'false' allows no value.", "false", path)
        return
    if not isinstance(schema, dict):
        raise UnsupportedSchema("A schema must be an object.", "type", path)
    for keyword, value in schema.items():
        if keyword not in KEYWORDS and keyword not in ANNOTATIONS:
            where = join(path, keyword)
            raise UnsupportedSchema(f"The schema keyword '{keyword}' can't be enforced.", keyword, where)
        for step, inner in _inner_schemas(keyword, value):
            check_keywords(inner, join(path, step))


def _inner_schemas(keyword: str, value: Any) -> Iterator[tuple[str, Any]]:
    if keyword in ("properties", *DEFINITIONS) and isinstance(value, dict):
        yield from ((f"{keyword}.{name}", inner) for name, inner in value.items())
    elif keyword == "anyOf" and isinstance(value, list):
        yield from ((f"{keyword}.{index}", inner) for index, inner in enumerate(value))
    elif keyword == "items" or (keyword == "additionalProperties" and not isinstance(value, bool)):
        yield keyword, value


def join(path: str, step: str) -> str:
    """The dotted path of what stands at `step` below `path`."""
    return f"{path}.{step}" if path else step
