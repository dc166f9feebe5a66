"""`/docs`: the OpenAPI document as a page, made on the server: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from secureai_appliance.web import openapi
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.openapi import Schema
from secureai_appliance.web.pages import HTML, html
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import etag
from secureai_appliance.web.route import Handler, Route

_HOST_IN_EXAMPLES = "http://localhost:8080"
_LOCATIONS = {"path": "path", "query": "query", "header": "header"}


@dataclass(frozen=True)
class Field:
    """One row of a table of fields or parameters."""

    name: str
    kind: str
    required: bool
    description: str
    link: str = ""
    """The schema that the field holds, without the `#`."""


@dataclass(frozen=True)
class Operation:
    """One route as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body: str
    answers: list[Field]
    curl: str


@dataclass(frozen=True)
class Shape:
    """One schema as the page shows it."""

    name: str
    description: str
    fields: list[Field]


def shown(table: Callable[[], Sequence[Route]]) -> Handler:
    """The handler of `/docs`. `table` is asked at the first request: the handler stands in it itself."""

    @cache
    def made() -> tuple[bytes, str]:
        body = page(table()).encode()
        return body, etag(body)

    def show(_: Request[None, None]) -> Answer:
        body, tag = made()
        return Answer(body=body, content_type=HTML, headers={"ETag": tag})

    return show


def page(routes: Sequence[Route]) -> str:
    """The HTML."""
    document = openapi.document(routes)
    operations: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operations[operation["tags"][0]].append(_operation(document, path, method, operation))
    return html(
        "docs.html",
        info=document["info"],
        operations=operations,
        shapes=[_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items())],
        errors=document["components"]["responses"],
        key_help=document["components"]["securitySchemes"]["apiKey"]["description"],
    )


def _operation(document: Schema, path: str, method: str, operation: Schema) -> Operation:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = content.get("schema", {})
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", "" if operation["security"] else "Needs no key."),
        parameters=[
            Field(
                parameter["name"],
                f"{_kind(parameter['schema'])}, {_LOCATIONS[parameter['in']]}",
                parameter.get("required", False),
                parameter.get("description", ""),
            )
            for parameter in operation.get("parameters", [])
        ],
        body=_target(body),
        answers=list(_answers(operation)),
        curl=_curl(path, method, operation, content.get("example") or (_example(document, body) if body else None)),
    )


def _answers(operation: Schema) -> Iterator[Field]:
    for status, response in operation["responses"].items():
        if "$ref" in response:
            continue  # errors are the same everywhere and have a table of their own
        for content_type, content in response.get("content", {"": {"schema": {}}}).items():
            schema = content["schema"]
            text = schema.get("description", response["description"])
            yield Field(status, content_type, required=True, description=text, link=_target(schema))
    errors = ", ".join(status for status, response in operation["responses"].items() if "$ref" in response)
    yield Field("errors", errors, required=False, description="The one error shape.", link="Error")


def _shape(name: str, schema: Schema) -> Shape:
    required = set(schema.get("required", []))
    fields = [
        Field(field, _kind(inner), field in required, _description(inner), _target(inner))
        for field, inner in schema.get("properties", {}).items()
    ]
    return Shape(name, schema.get("description", ""), fields)


def _description(schema: Schema) -> str:
    if "description" in schema:
        return str(schema["description"])
    return next((kind["description"] for kind in schema.get("anyOf", []) if "description" in kind), "")


def _kind(schema: Schema) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return _name(schema)
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(kind) for kind in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = _bounds(schema)
    return f"{schema.get('type', 'any')}{f' ({bounds})' if bounds else ''}"


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
    }
    return ", ".join(text.format(schema[name]) for name, text in words.items() if name in schema)


def _target(schema: Schema) -> str:
    """The schema that a field leads to, whether it holds it, a list of it or one of several."""
    if "$ref" in schema:
        return _name(schema)
    inner = [schema["items"]] if isinstance(schema.get("items"), dict) else schema.get("anyOf", [])
    return next((target for kind in inner if (target := _target(kind))), "")


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _curl(path: str, method: str, operation: Schema, body: Any) -> str:
    lines = [f"curl {_HOST_IN_EXAMPLES}{path}"]
    if method not in {"get", "post"} or (method == "post" and body is None):
        lines[0] = f"curl -X {method.upper()} {_HOST_IN_EXAMPLES}{path}"
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $SECUREAI_KEY"')
    if body is not None:
        lines.append('-H "Content-Type: application/json"')
        text = json.dumps(body, ensure_ascii=False)
        lines.append("-d '" + text.replace("'", "'\\''") + "'")
    for kind in operation.get("requestBody", {}).get("content", {}):
        if kind != "application/json":
            lines += [f'-H "Content-Type: {kind}"', "--data-binary @FILE"]
    return " \\\n  ".join(lines)


def _example(document: Schema, schema: Schema) -> Any:
    """A small value that fits: given examples first, else what is required and no more."""
    if "$ref" in schema:
        return _example(document, document["components"]["schemas"][_name(schema)])
    for name in ("examples", "enum"):
        if name in schema:
            return schema[name][0]
    if "anyOf" in schema:
        return _example(document, schema["anyOf"][0])
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            shown = schema.get("required", []) or list(properties)[:1]
            return {name: _example(document, properties[name]) for name in shown if name in properties}
        case "array":
            return [_example(document, schema.get("items", {}))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return "text"
