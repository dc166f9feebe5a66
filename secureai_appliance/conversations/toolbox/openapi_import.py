"""Tools made of an OpenAPI document (3.x): one for each operation whose arguments can be said in one JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from secureai_appliance.conversations.toolbox import parameters
from secureai_appliance.core.errors import UnprocessableEntity, ValidationError

_METHODS = ("get", "post", "put", "patch", "delete")
_DROPPED = frozenset({"example", "examples", "xml", "externalDocs", "discriminator", "readOnly", "writeOnly"})
_DROPPED |= {"nullable", "deprecated", "$schema", "$id"}
_MOST_DEPTH = 40
_REF = "#/components/schemas/"


@dataclass(frozen=True)
class Operation:
    """What becomes a tool. `url` holds placeholders, `body` is a template or None."""

    name: str
    description: str
    method: str
    url: str
    body: Any
    schema: dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """An operation that can't be one, and why."""

    operation: str
    reason: str


class _Unusable(Exception):
    """Why an operation is skipped."""


def server_of(document: dict[str, Any], given: str | None) -> str:
    """Where the operations are. Raises ValidationError when neither the document nor the request says it."""
    servers = document.get("servers")
    first = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
    url = given or str(first.get("url", ""))
    if not url.startswith(("http://", "https://")) or "{" in url:
        raise ValidationError(
            "The document names no server with a whole address: give 'server_url'.",
            field="server_url",
            constraint="required",
        )
    return url.rstrip("/")


def operations(
    document: dict[str, Any], server: str, wanted: list[str] | None
) -> tuple[list[Operation], list[Skipped]]:
    """Those of `wanted` (operation ids or names; None: all). Raises ValidationError for what is no OpenAPI document."""
    paths = document.get("paths")
    if not str(document.get("openapi", "")).startswith("3.") or not isinstance(paths, dict):
        raise ValidationError(
            "The 'document' field must be an OpenAPI document of version 3.", field="document", constraint="format"
        )
    made: list[Operation] = []
    skipped: list[Skipped] = []
    for path, method, item, operation in _each(paths):
        name = _name(operation, method, path)
        if wanted is not None and name not in wanted and operation.get("operationId") not in wanted:
            continue
        try:
            made.append(_operation(document, server, path, method, [item, operation]))
        except _Unusable as cause:
            skipped.append(Skipped(name, str(cause)))
    return made, skipped


def _each(paths: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    for path, item in paths.items():
        if isinstance(item, dict) and str(path).startswith("/"):
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield path, method, item, item[method]


def _name(operation: dict[str, Any], method: str, path: str) -> str:
    return re.sub("[^a-zA-Z0-9_-]+", "_", str(operation.get("operationId") or f"{method}{path}")).strip("_")[:64]


def _operation(
    document: dict[str, Any], server: str, path: str, method: str, levels: list[dict[str, Any]]
) -> Operation:
    operation = levels[-1]
    properties: dict[str, Any] = {}
    required: list[str] = []
    query: list[str] = []
    for parameter in _parameters(document, levels):
        name, place = str(parameter.get("name")), parameter.get("in")
        needed = bool(parameter.get("required"))
        if place in {"header", "cookie"}:
            if needed:
                raise _Unusable(f"it needs the {place} '{name[:60]}'")
            continue
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_.-]{0,63}", name):
            raise _Unusable("a parameter has a name that can't be an argument's")
        properties[name] = _described(document, parameter)
        required += [name] if needed or place == "path" else []
        query += [f"{name}={{{name}}}"] if place == "query" else []
    body = _body(document, operation, properties, required)
    url = server + path + (f"?{'&'.join(query)}" if query else "")
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    schema["additionalProperties"] = False
    definitions = _definitions(document, schema)
    if definitions:
        schema["$defs"] = definitions
    try:
        parameters.check_schema(schema, "parameters")
    except UnprocessableEntity as cause:
        raise _Unusable(cause.message) from cause
    description = str(operation.get("description") or operation.get("summary") or "")[:2000]
    return Operation(_name(operation, method, path), description, method.upper(), url, body, schema)


def _parameters(document: dict[str, Any], levels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the path and of the operation, which wins."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for level in levels:
        for given in level.get("parameters") or ():
            parameter = _resolved(document, given)
            found[parameter.get("name"), parameter.get("in")] = parameter
    return list(found.values())


def _described(document: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    schema = parameter.get("schema")
    if not isinstance(schema, dict):
        raise _Unusable("a parameter has no schema")
    made: dict[str, Any] = _converted(schema, 0)
    if parameter.get("description"):
        made = {**made, "description": str(parameter["description"])[:500]}
    return made


def _body(
    document: dict[str, Any], operation: dict[str, Any], properties: dict[str, Any], required: list[str]
) -> dict[str, Any] | str | None:
    """Adds the body's arguments: its properties, or `body` for one that is no plain object. The template, if any."""
    if "requestBody" not in operation:
        return None
    given = _resolved(document, operation["requestBody"])
    content = given.get("content") or {}
    kind = content.get("application/json") if isinstance(content, dict) else None
    if not isinstance(kind, dict):
        if given.get("required"):
            raise _Unusable("its body is not JSON")
        return None
    schema = kind.get("schema") or {}
    flat = _resolved(document, schema) if isinstance(schema, dict) else {}
    own = flat.get("properties")
    if flat.get("type") == "object" and isinstance(own, dict) and own and not own.keys() & properties.keys():
        properties |= {name: _converted(value, 0) for name, value in own.items()}
        required += [name for name in flat.get("required") or () if name in own]
        return None
    if "body" in properties:
        raise _Unusable("its parameters and its body have the same name")
    properties["body"] = _converted(schema, 0)
    required += ["body"] if given.get("required") else []
    return "{{body}}"


def _resolved(document: dict[str, Any], given: Any) -> dict[str, Any]:
    for _ in range(_MOST_DEPTH):
        if not isinstance(given, dict):
            raise _Unusable("a part of it is not an object")
        reference = given.get("$ref")
        if reference is None:
            return given
        given = _at(document, str(reference))
    raise _Unusable("its references lead in a circle")


def _at(document: dict[str, Any], reference: str) -> Any:
    if not reference.startswith("#/"):
        raise _Unusable("it refers to another document")
    found: Any = document
    for written in reference[2:].split("/"):
        step = written.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or step not in found:
            raise _Unusable("it refers to something that is not there")
        found = found[step]
    return found


def _converted(schema: Any, depth: int) -> Any:
    """JSON schema of OpenAPI's: annotations and what can't be checked in bounded time are left out."""
    if depth > _MOST_DEPTH:
        raise _Unusable("its schema is nested too deeply")
    if isinstance(schema, list):
        return [_converted(value, depth + 1) for value in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "properties" and isinstance(value, dict):
            made[keyword] = {name: _converted(inner, depth + 1) for name, inner in value.items()}
        elif keyword == "$ref":
            if not str(value).startswith(_REF):
                raise _Unusable("it refers to something other than a schema of the document")
            made[keyword] = "#/$defs/" + str(value).removeprefix(_REF)
        elif keyword in {"exclusiveMinimum", "exclusiveMaximum"} and isinstance(value, bool):
            continue  # 3.0's spelling: the bound itself stays
        elif keyword in {"enum", "const", "default"}:
            made[keyword] = value
        elif keyword not in _DROPPED and not (keyword == "pattern" and not parameters.is_readable(value)):
            made[keyword] = _converted(value, depth + 1)
    return made


def _definitions(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the document that are referred to, and those that they refer to."""
    found: dict[str, Any] = {}
    waiting = _references(schema)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _converted(_at(document, _REF + name), 0)
            waiting |= _references(found[name])
    return found


def _references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {str(schema["$ref"]).removeprefix("#/$defs/")} if isinstance(schema.get("$ref"), str) else set()
        return own.union(*map(_references, schema.values()))
    return set().union(*map(_references, schema)) if isinstance(schema, list) else set()
