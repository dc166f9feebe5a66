"""`/tools`: what assistants can do besides talking."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from secureai_appliance.accounts.sharing import Visibility
from secureai_appliance.accounts.shelf import Shares
from secureai_appliance.conversations import assistants
from secureai_appliance.conversations.toolbox import openapi_import, registry
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.conversations.toolbox.knowledge_search import Asker
from secureai_appliance.conversations.toolbox.registry import SHELF
from secureai_appliance.conversations.toolbox.shapes import (
    Function,
    Headers,
    HttpTool,
    McpServer,
    Timeout,
    Tool,
    ToolAuth,
    ToolCreate,
    ToolPatch,
    ToolQuery,
)
from secureai_appliance.conversations.toolbox.toolbox import Bounds, ToolResult
from secureai_appliance.core.errors import UnprocessableEntity, ValidationError
from secureai_appliance.governance import audit
from secureai_appliance.store import Page
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match

_POLL = 0.05


class ToolInvoke(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A call to try a tool. `function` names one of several."""

    arguments: dict[str, Any]
    function: Annotated[str, Meta(max_length=64)] | None = None


class ToolImport(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An OpenAPI 3 document, of which each operation (or those in `operations`, by id) becomes a tool.

    `prefix` goes before their names, `server_url` in the place of the document's first server.
    """

    document: dict[str, Any]
    server_url: Annotated[str, Meta(max_length=500)] | None = None
    operations: Annotated[list[str], Meta(max_length=200)] | None = None
    prefix: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{0,30}$")] = ""
    headers: Headers = {}
    auth: ToolAuth | None = None
    timeout: Timeout = 20.0
    visibility: Visibility = "private"
    shares: Shares = []


class SkippedOperation(msgspec.Struct, kw_only=True):
    """An operation of the document that is no tool now, and why."""

    operation: str
    reason: str


class ToolsImported(msgspec.Struct, kw_only=True):
    """What became of the document."""

    data: list[Tool]
    skipped: list[SkippedOperation]


def index(request: Request[None, ToolQuery]) -> Page[Tool]:
    with request.parts.store.read() as db:
        return registry.list_(db, request.caller, request.query)


def create(request: Request[ToolCreate, None]) -> Tool:
    parts, body = request.parts, request.body
    # before: nothing waits for another server inside a transaction
    listed = None if body.mcp is None else _listed(request, body.name, body.mcp, registry.headers_of(body.mcp, "mcp"))
    with parts.store.transaction() as tx:
        return parts.toolbox.registry.create(tx, request.caller, body, listed)


def show(request: Request[None, None]) -> Tool:
    return _tool(request)


def update(request: Request[ToolPatch, None]) -> Tool:
    parts, body = request.parts, request.body
    before = _tool(request)
    listed = None
    if body.mcp is not UNSET and before.mcp is not None:
        name = before.name if body.name is UNSET else body.name
        with parts.store.read() as db:
            headers = parts.toolbox.registry.headers_at(db, before, body.mcp)
        listed = _listed(request, name, body.mcp, headers)
    with parts.store.transaction() as tx:
        current = SHELF.get(tx, request.caller, before.id)
        require_match(request, current)
        return parts.toolbox.registry.patch(tx, request.caller, current, body, listed)


def delete(request: Request[None, None]) -> None:
    current = SHELF.get(request.tx, request.caller, request.path["id"])
    require_match(request, current)
    # the store takes it out of them as it goes
    details: audit.Details = {"assistants": assistants.with_tool(request.tx, current.id)}
    SHELF.delete(request.tx, request.caller, current, details)


def invoke(request: Request[ToolInvoke, None]) -> ToolResult | Answer:
    toolbox, body = request.parts.toolbox, request.body
    tool = _tool(request)
    function = _function(tool, body.function)
    bounds = Bounds(toolbox.setting("max_seconds"), toolbox.max_chars)
    running = toolbox.start(tool, function, body.arguments, bounds, Asker(request.caller, used=request.has_read))
    gone = False
    while (result := running.poll(_POLL)) is None:
        if not gone and request.disconnected():
            gone = True
            running.cancel()
    toolbox.note(request.caller, tool, result, "")
    return Answer(CLIENT_CLOSED_REQUEST) if gone else result


def import_(request: Request[ToolImport, None]) -> ToolsImported:
    body = request.body
    server = openapi_import.server_of(body.document, body.server_url)
    request.parts.toolbox.registry.check_url(server, "server_url")
    found, skipped = openapi_import.operations(body.document, server, body.operations)
    if not found:
        raise UnprocessableEntity(
            "The document has no operation that can be a tool.",
            field="document",
            constraint="operations",
            details={"skipped": [f"{each.operation}: {each.reason}" for each in skipped[:20]]},
        )
    if len(found) > registry.MOST_FUNCTIONS:
        raise UnprocessableEntity(
            f"The document has more than {registry.MOST_FUNCTIONS} operations: name some in 'operations'.",
            field="operations",
            constraint="max_items",
        )
    made = [
        request.parts.toolbox.registry.create(
            request.tx,
            request.caller,
            ToolCreate(
                name=f"{body.prefix}{operation.name}"[:64],
                description=operation.description,
                type="http",
                parameters=operation.schema,
                http=HttpTool(
                    method=operation.method,  # type: ignore[arg-type]
                    url=operation.url,
                    headers=body.headers,
                    auth=body.auth,
                    body=operation.body,
                    timeout=body.timeout,
                ),
                visibility=body.visibility,
                shares=body.shares,
            ),
        )
        for operation in found
    ]
    return ToolsImported(
        data=made, skipped=[SkippedOperation(operation=each.operation, reason=each.reason) for each in skipped]
    )


def _tool(request: Request[Any, None]) -> Tool:
    with request.parts.store.read() as db:
        return SHELF.get(db, request.caller, request.path["id"])


def _function(tool: Tool, name: str | None) -> Function:
    if name is None and len(tool.functions) == 1:
        return tool.functions[0]
    for function in tool.functions:
        if function.name == name:
            return function
    raise ValidationError(
        "The 'function' field must name one of the tool's functions.", field="function", constraint="enum"
    )


def _listed(request: Request[Any, None], name: str, place: McpServer, headers: dict[str, str]) -> list[Function]:
    toolbox = request.parts.toolbox
    toolbox.registry.check_url(place.url, "mcp.url")
    try:
        return toolbox.listed(name, place.url, headers, place.timeout)
    except ToolFailure as failure:
        raise UnprocessableEntity(failure.message, field="mcp.url", constraint="reachable") from failure
