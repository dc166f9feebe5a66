"""The OpenAPI 3.1 document, made from the route table and the structs: nothing in it is written twice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from secureai_appliance import __version__
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.errors import every_failure
from secureai_appliance.governance.events import EVENTS
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.idempotency import HEADER as IDEMPOTENCY_KEY
from secureai_appliance.web.idempotency import REPLAYED
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import JSON, Error, etag
from secureai_appliance.web.route import PART, Access, Handler, Route

Schema = dict[str, Any]

API_PREFIX = "/api/"
_REF = "#/components/schemas/{name}"
_PAGE_OF = re.compile(rb"\bPage_([A-Za-z]+)_")
_PARAMETER = re.compile(r"{(\w+)}")
# any request can be malformed, too slow or misdirected, and any answer can meet a defect or a full disk
_ALWAYS = (400, 405, 408, 421, 431, 500, 503)
_WITH_RETRY_AFTER = (429, 503)


def shown(table: Callable[[], Sequence[Route]]) -> Handler:
    """The handler of `/api/v1/openapi.json`. `table` is asked at the first request: the handler stands in it itself."""

    @cache
    def made() -> tuple[bytes, str]:
        body = msgspec.json.encode(document(table()))
        return body, etag(body)

    def show(_: Request[None, None]) -> Answer:
        body, tag = made()
        return Answer(body=body, headers={"ETag": tag})

    return show


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The description of every route with a tag; pages have none."""
    described = [route for route in routes if route.tag]
    schemas, references = _schemas(described)
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SecureAI API",
            "version": __version__,
            "description": "AI services of this appliance: completions, embeddings and what belongs to them.",
            "license": {"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in described)],
        "paths": paths,
        "webhooks": {name: {"post": _event(name, kind, references[kind])} for name, kind in EVENTS.items()},
        "components": {
            "schemas": schemas,
            "responses": {str(status): _error_response(status) for status in _error_statuses()},
            "headers": _HEADERS,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`sk-…`). Scopes: "
                    + ", ".join(f"`{name}`" for name in PERMISSIONS)
                    + ".",
                }
            },
        },
    }


_HEADERS: dict[str, Schema] = {
    "X-Request-Id": {"description": "Names this request; the server's log has it too.", "schema": {"type": "string"}},
    "ETag": {"description": "Changes whenever the body does.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait, as in `retry_after`.", "schema": {"type": "integer"}},
    "X-SecureAI-Ignored": {
        "description": "Names of fields that were not read, percent-encoded.",
        "schema": {"type": "string"},
    },
    REPLAYED: {
        "description": "`true` when the stored answer of an earlier request is given again.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
    "Allow": {"description": "The path's methods.", "schema": {"type": "string"}},
}


def has_etag(route: Route) -> bool:
    """Whether the route's answers can be asked for with `If-None-Match`."""
    return route.method == "GET" and route.path.startswith(API_PREFIX) and route.answer is not None


def error_statuses(route: Route) -> list[int]:
    """Every status that the route may answer with an error."""
    found = {*_ALWAYS, *route.errors}
    if route.access is not Access.PUBLIC:
        found |= {401, 429}
    if isinstance(route.access, str):
        found |= {403}
    if _PARAMETER.search(route.path):
        found |= {404}
    if route.method != "GET":
        found |= {413}
    if route.body is not None:
        found |= {415}
    if route.method == "POST" and route.access is not Access.PUBLIC:
        found |= {409, 422}
    if route.method in {"PATCH", "DELETE", "PUT"}:
        found |= {412}
    return sorted(found)


def _error_statuses() -> list[int]:
    return sorted({failure.status for failure in every_failure()})


def _schemas(routes: Sequence[Route]) -> tuple[dict[str, Schema], dict[type, Schema]]:
    kinds: dict[type, None] = {Error: None, **dict.fromkeys(EVENTS.values())}
    for route in routes:
        kinds.update(
            {
                kind: None
                for kind in (route.body, route.multipart, route.query, route.answer)
                if kind and _is_struct(kind)
            }
        )
    shown, components = _named_pages(*msgspec.json.schema_components(list(kinds), ref_template=_REF))
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    references = dict(zip(kinds, shown, strict=True))
    error = components["ErrorBody"]["properties"]
    error["type"] = {"type": "string", "enum": [failure.type for failure in every_failure()]}
    for route in routes:
        if route.secret_field and route.answer is not None:
            _make_replayable(components, references[route.answer], route.secret_field)
    return components, references


def _named_pages(shown: Sequence[Schema], components: dict[str, Schema]) -> tuple[list[Schema], dict[str, Schema]]:
    """`KeyPage` instead of msgspec's `Page_Key_`, which would become part of clients that are made from this."""
    text = msgspec.json.encode((shown, components))
    return msgspec.json.decode(_PAGE_OF.sub(rb"\1Page", text), type=tuple[list[Schema], dict[str, Schema]])


def _make_replayable(components: dict[str, Schema], reference: Schema, secret_field: str) -> None:
    """In a replay `details` stands for the secret, so that neither is always there."""
    schema = components[reference["$ref"].rpartition("/")[2]]
    schema["required"] = [name for name in schema["required"] if name != secret_field]
    schema["properties"]["details"] = {
        "type": "object",
        "description": f"Only in a replay, in place of `{secret_field}`.",
        "properties": {"secret": {"type": "string", "enum": ["shown_once"]}},
        "required": ["secret"],
    }


def _is_struct(kind: type) -> bool:
    # a generic page of something is no class but has one
    origin = getattr(kind, "__origin__", kind)
    return isinstance(origin, type) and issubclass(origin, msgspec.Struct)


def _operation(route: Route, references: dict[type, Schema]) -> Schema:
    operation: Schema = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "security": [] if route.access is Access.PUBLIC else [{"apiKey": []}],
        "responses": _responses(route, references),
    }
    if isinstance(route.access, str):
        other = f" or `{route.or_access}`" if route.or_access else ""
        operation["description"] = f"Needs the permission `{route.access}`{other}."
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"schema": references[route.body]} | ({"example": route.example} if route.example else {})
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
    if route.raw:
        binary = {"schema": {"type": "string", "contentMediaType": route.raw}}
        operation["requestBody"] = {"required": True, "content": {route.raw: binary}}
    if route.multipart is not None:
        content = operation.get("requestBody", {}).get("content", {})
        form = {"multipart/form-data": {"schema": references[route.multipart]}}
        operation["requestBody"] = {"required": True, "content": {**form, **content}}
    if route.deprecated:
        operation["deprecated"] = True
    return operation


def _event(name: str, kind: type, data: Schema) -> Schema:
    """What is sent to a webhook."""
    body = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The event's: the same however often it is delivered."},
            "event": {"type": "string", "const": name},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": data,
        },
        "required": ["id", "event", "timestamp", "data"],
    }
    return {
        "operationId": "event_" + name.replace(".", "_"),
        "summary": inspect.getdoc(kind),
        "tags": ["Webhooks"],
        "parameters": [
            _header("X-SecureAI-Signature", "`t=<unix seconds>,v1=<hex HMAC-SHA-256>`."),
            *[
                _header(header, "As Standard Webhooks says.")
                for header in ("webhook-id", "webhook-timestamp", "webhook-signature")
            ],
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": body}}},
        "responses": {"2XX": {"description": "Delivered; everything else is tried again."}},
    }


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/api/v1/").replace("{", "by_"))
    return "_".join([route.method.lower(), *words])


def _parameters(route: Route) -> list[Schema]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(route.path)
    ]
    found += _query_parameters(route.query) if route.query is not None else []
    if has_etag(route):
        found.append(_header("If-None-Match", "An ETag: answered with an empty 304 while it still holds."))
    if 412 in error_statuses(route):
        found.append(_header("If-Match", "An ETag: the change is refused with 412 when it no longer holds."))
    if route.raw == PART:
        offset = _header("Upload-Offset", "Where the part begins: the upload's `offset`.")
        found.append({**offset, "required": True, "schema": {"type": "integer", "minimum": 0}})
    if route.method == "POST" and route.access is not Access.PUBLIC:
        text = "A name of your own for this request: repeated with it, the request is done once (kept 24 hours)."
        found.append({**_header(IDEMPOTENCY_KEY, text), "schema": _KEY_SCHEMA})
    return found


_KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}


def _header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _query_parameters(kind: type[msgspec.Struct]) -> list[Schema]:
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    schema = components[kind.__name__]
    required = set(schema["required"])
    found = []
    for name, property_ in schema["properties"].items():
        given, description = _without_null(property_)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": given}
        found.append({**parameter, "description": description} if description else parameter)
    return found


def _without_null(schema: Schema) -> tuple[Schema, str]:
    """A query has no null: an optional parameter is left out."""
    kept = {name: value for name, value in schema.items() if name not in {"anyOf", "description"}}
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if kinds:
        kept.pop("default", None)
        kept = {**kept, **kinds[0]} if len(kinds) == 1 else {**kept, "anyOf": kinds}
    description = kept.pop("description", schema.get("description", ""))
    return kept, description


def _responses(route: Route, references: dict[type, Schema]) -> dict[str, Schema]:
    found = {str(route.status): _success(route, references)}
    if has_etag(route):
        found["304"] = {"description": "Not modified.", "headers": _headers("X-Request-Id", "ETag")}
    found |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in error_statuses(route)}
    return found


def _success(route: Route, references: dict[type, Schema]) -> Schema:
    names = ["X-Request-Id"]
    names += ["ETag"] if has_etag(route) else []
    names += ["X-SecureAI-Ignored"] if route.openai else []
    names += [REPLAYED] if route.method == "POST" and route.access is not Access.PUBLIC else []
    response: Schema = {"description": _phrase(route.status), "headers": _headers(*names)}
    if route.status == 204:
        return response
    if route.content_type == JSON:
        schema = references.get(route.answer, {"type": "object"}) if route.answer is not None else {}
        response["content"] = {JSON: {"schema": schema}}
    else:
        response["content"] = {route.content_type.partition(";")[0]: {"schema": {"type": "string"}}}
    for other in route.other_types:
        response["content"][other] = {"schema": {"type": "string"}}
    if route.streams and route.body is not None and "stream" in route.body.__struct_fields__:
        response["content"]["text/event-stream"] = {
            "schema": {
                "type": "string",
                "description": "With `stream`: events `data: {…}`, comments `: …` between, at the end `data: [DONE]`.",
            }
        }
    return response


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _error_response(status: int) -> Schema:
    types = " or ".join(f"`{failure.type}`" for failure in every_failure() if failure.status == status)
    names = ["X-Request-Id"]
    names += ["Retry-After"] if status in _WITH_RETRY_AFTER else []
    names += {401: ["WWW-Authenticate"], 405: ["Allow"]}.get(status, [])
    return {
        "description": f"{_phrase(status)}: {types}.",
        "headers": _headers(*names),
        "content": {JSON: {"schema": {"$ref": _REF.format(name="Error")}}},
    }


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
