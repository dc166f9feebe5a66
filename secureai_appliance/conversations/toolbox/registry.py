"""Tools as they are stored: what they are, whose, and what opens the servers behind them."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import Shareable
from secureai_appliance.accounts.shelf import Shelf, json_text
from secureai_appliance.conversations.toolbox import builtins, http_tool, parameters
from secureai_appliance.conversations.toolbox.builtins import BuiltinName
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.conversations.toolbox.outside import Outside
from secureai_appliance.conversations.toolbox.shapes import (
    Function,
    HttpTool,
    McpServer,
    ShownHttp,
    ShownMcp,
    Tool,
    ToolAuth,
    ToolCreate,
    ToolPatch,
    ToolQuery,
)
from secureai_appliance.core.errors import UnprocessableEntity, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.network import parse_url
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.store import Page, Reader, Row, Transaction

TOOLS = Shareable("tools", "tool")
OWNED = (TOOLS.owned(),)
MOST_FUNCTIONS = 64
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4000}", re.ASCII)
_FORBIDDEN = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "accept-encoding"),
        *("content-type", "mcp-session-id", "mcp-protocol-version"),
    }
)


class _Settings(msgspec.Struct, omit_defaults=True):
    """The column `settings`."""

    http: ShownHttp | None = None
    builtin: BuiltinName | None = None
    mcp: ShownMcp | None = None


@dataclass(frozen=True)
class Registry:
    """What is done with tools besides calling them."""

    sealer: Sealer
    outside: Outside

    def create(self, tx: Transaction, caller: Caller, body: ToolCreate, listed: list[Function] | None = None) -> Tool:
        """Register a tool; `listed` is what its MCP server offers.

        Raises Conflict for a name that is taken, ValidationError, UnprocessableEntity for a schema or an address.
        """
        _check_type(body)
        tool_id = new_id("tool")
        settings, functions = self._described(body, listed)
        values = {
            "name": body.name,
            "description": body.description,
            "type": body.type,
            "settings": json_text(settings),
            "functions": json_text(functions),
            "secret": self._sealed(tool_id, body.http or body.mcp, body.type),
        }
        return SHELF.add(tx, caller, values, visibility=body.visibility, shares=body.shares, thing_id=tool_id)

    def patch(
        self, tx: Transaction, caller: Caller, current: Tool, body: ToolPatch, listed: list[Function] | None = None
    ) -> Tool:
        """Change a tool. Raises PermissionDenied, and what `create` raises."""
        for field in ("http", "mcp"):
            if getattr(body, field) is not UNSET and current.type != field:
                raise ValidationError(f"The tool is none of type '{field}'.", field=field, constraint="type")
        if body.parameters is not UNSET and current.type != "http":
            raise ValidationError("The tool brings its own schema.", field="parameters", constraint="type")
        values: dict[str, Any] = {
            name: value for name in ("name", "description") if (value := getattr(body, name)) is not UNSET
        }
        place = body.http if body.http is not UNSET else body.mcp if body.mcp is not UNSET else None
        name = current.name if body.name is UNSET else body.name
        description = current.description if body.description is UNSET else body.description
        if current.type == "mcp":
            functions = _renamed(current, name) if listed is None else listed
        else:
            told = description or (builtins.DESCRIPTIONS[current.builtin] if current.builtin is not None else "")
            functions = [
                Function(name=name, description=told, parameters=function.parameters) for function in current.functions
            ]
        if body.parameters is not UNSET:
            parameters.check_schema(body.parameters, "parameters")
            functions[0].parameters = body.parameters
        if place is not None:
            values |= self._moved(tx, current, place)
        shown = current.http if body.http is UNSET else body.http
        if current.type == "http" and shown is not None:
            _check_places(shown.url, functions[0].parameters)
        values["functions"] = json_text(functions)
        return SHELF.change(tx, caller, current, values, visibility=body.visibility, shares=body.shares)

    def headers(self, db: Reader, tool_id: str) -> dict[str, str]:
        """The sealed headers of a tool. They hold secrets."""
        sealed = db.value("SELECT secret FROM tools WHERE id = ?", tool_id)
        if sealed is None:
            return {}
        return msgspec.json.decode(self.sealer.open(sealed, _context(tool_id)), type=dict[str, str])

    def headers_at(self, db: Reader, current: Tool, place: HttpTool | McpServer) -> dict[str, str]:
        """The headers of a tool once it is at `place`: those that it has, if they may stay. They hold secrets."""
        before = current.http or current.mcp
        if before is not None and _keeps_headers(before, place):
            return self.headers(db, current.id)
        return headers_of(place, current.type)

    def _moved(self, tx: Transaction, current: Tool, place: HttpTool | McpServer) -> dict[str, Any]:
        """What changes with a new place. A secret that was given for one server is not sent to another."""
        before = current.http or current.mcp
        assert before is not None
        headers = self.headers_at(tx, current, place)
        shown = self._shown(place, current.type)
        if _keeps_headers(before, place):
            shown.header_names, shown.auth = before.header_names, before.auth
        settings = _Settings(http=shown) if isinstance(shown, ShownHttp) else _Settings(mcp=shown)
        return {"settings": json_text(settings), "secret": self._seal(current.id, headers)}

    def _described(self, body: ToolCreate, listed: list[Function] | None) -> tuple[_Settings, list[Function]]:
        if body.builtin is not None:
            described = body.description or builtins.DESCRIPTIONS[body.builtin]
            function = Function(name=body.name, description=described, parameters=builtins.PARAMETERS[body.builtin])
            return _Settings(builtin=body.builtin), [function]
        if body.mcp is not None:
            shown = self._shown(body.mcp, "mcp")
            assert isinstance(shown, ShownMcp)
            return _Settings(mcp=shown), listed or []
        assert body.http is not None
        schema = body.parameters or {"type": "object", "properties": {}, "additionalProperties": False}
        parameters.check_schema(schema, "parameters")
        shown = self._shown(body.http, "http")
        assert isinstance(shown, ShownHttp)
        _check_places(body.http.url, schema)
        return _Settings(http=shown), [Function(name=body.name, description=body.description, parameters=schema)]

    def _shown(self, place: HttpTool | McpServer, field: str) -> ShownHttp | ShownMcp:
        self.check_url(place.url, f"{field}.url")
        names = sorted(place.headers)
        auth = None if place.auth is None else place.auth.type
        if isinstance(place, McpServer):
            return ShownMcp(url=place.url, header_names=names, auth=auth, timeout=place.timeout)
        if place.body is not None and place.method in http_tool.BODILESS:
            raise ValidationError(
                f"A {place.method} request has no body.", field=f"{field}.body", constraint="exclusive"
            )
        return ShownHttp(
            method=place.method,
            url=place.url,
            header_names=names,
            body=place.body,
            auth=auth,
            timeout=place.timeout,
        )

    def check_url(self, url: str, field: str) -> None:
        """Raise ValidationError for what is no address, UnprocessableEntity for one where tools may not go."""
        try:
            names = http_tool.places(url)
            filled = url
            for name in names:
                filled = filled.replace("{" + name + "}", "x")
            if "{" in filled or "}" in filled or "#" in filled:
                raise ValueError("placeholders")
            self.outside.check(filled)
        except ValueError as cause:
            raise ValidationError(
                f"The '{field}' field may hold {{name}} in its path and query only.", field=field, constraint="format"
            ) from cause
        except ToolFailure as failure:
            if failure.code == "invalid_url":
                raise ValidationError(failure.message, field=field, constraint="format") from failure
            raise UnprocessableEntity(failure.message, field=field, constraint="allowed") from failure

    def _sealed(self, tool_id: str, place: HttpTool | McpServer | None, field: str) -> bytes | None:
        return None if place is None else self._seal(tool_id, headers_of(place, field))

    def _seal(self, tool_id: str, headers: dict[str, str]) -> bytes | None:
        return self.sealer.seal(msgspec.json.encode(headers), _context(tool_id)) if headers else None


def list_(db: Reader, caller: Caller, query: ToolQuery) -> Page[Tool]:
    """A page of the tools that the caller may use."""
    if query.type is None:
        return SHELF.list_(db, caller, query)
    return SHELF.list_(db, caller, query, ["tools.type = ?"], [query.type])


def functions_listed(name: str, listed: list[tuple[str, str, dict[str, Any]]]) -> tuple[list[Function], dict[str, str]]:
    """What of an MCP server's tools can be offered under the tool's name, and why the others can't, by name."""
    functions: list[Function] = []
    refused: dict[str, str] = {}
    for own, description, schema in listed:
        offered = f"{name}_{own}"
        if any(function.name == offered for function in functions):
            refused[own[:64]] = "There is another of this name."
            continue
        try:
            parameters.check_schema({"type": "object", **schema}, "parameters")
        except UnprocessableEntity as failure:
            refused[own[:64]] = failure.message
            continue
        if not re.fullmatch("[a-zA-Z0-9_-]{1,64}", offered) or len(functions) == MOST_FUNCTIONS:
            refused[own[:64]] = "Its name is too long or has other letters, or there are too many."
            continue
        made = Function(name=offered, description=description[:2000], parameters={"type": "object", **schema})
        functions.append(made)
    return functions, refused


def _renamed(tool: Tool, name: str) -> list[Function]:
    """Its functions under another name. Raises ValidationError when one would be too long."""
    made = [
        msgspec.structs.replace(function, name=f"{name}_{function.name.removeprefix(f'{tool.name}_')}")
        for function in tool.functions
    ]
    if any(len(function.name) > 64 for function in made):
        raise ValidationError("With this name the functions' would be too long.", field="name", constraint="max_length")
    return made


def _check_type(body: ToolCreate) -> None:
    for field in ("http", "builtin", "mcp"):
        given = getattr(body, field) is not None
        if given != (body.type == field):
            what = "is required" if body.type == field else f"is not for the type '{body.type}'"
            raise ValidationError(
                f"The '{field}' field {what}.", field=field, constraint="exclusive" if given else "required"
            )
    if body.parameters is not None and body.type != "http":
        raise ValidationError(
            "The 'parameters' field is for the type 'http': the others bring theirs.",
            field="parameters",
            constraint="exclusive",
        )


def _check_places(url: str, schema: dict[str, Any]) -> None:
    for name in sorted(http_tool.places(url)):
        if name not in schema.get("properties", {}):
            raise ValidationError(
                f"The address needs '{name}', which is none of the properties.", field="http.url", constraint="unknown"
            )


def headers_of(place: HttpTool | McpServer, field: str) -> dict[str, str]:
    """What opens the server. Raises ValidationError for a header that can't be sent along."""
    headers = dict(place.headers)
    auth = place.auth
    if auth is not None:
        headers["Authorization"] = _authorization(auth, field)
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in _FORBIDDEN:
            raise ValidationError(
                "A header has a name or a value that can't be sent along.",
                field=f"{field}.headers",
                constraint="format",
            )
    return headers


def _keeps_headers(before: ShownHttp | ShownMcp, place: HttpTool | McpServer) -> bool:
    return not place.headers and place.auth is None and _origin(before.url) == _origin(place.url)


def _authorization(auth: ToolAuth, field: str) -> str:
    needed = ("token",) if auth.type == "bearer" else ("username", "password")
    for name in needed:
        if getattr(auth, name) is None:
            where = f"{field}.auth.{name}"
            raise ValidationError(f"The '{where}' field is required.", field=where, constraint="required")
    if auth.type == "bearer":
        return f"Bearer {auth.token}"
    return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def _origin(url: str) -> tuple[str, str, int]:
    target = parse_url(re.sub(r"[{}]", "", url))
    return target.scheme, target.host, target.port


def _context(tool_id: str) -> str:
    return f"tools.secret {tool_id}"


def _read(common: dict[str, Any], row: Row) -> Tool:
    description, kind, settings, functions = row
    stored = msgspec.json.decode(settings, type=_Settings)
    return Tool(
        **common,
        description=description,
        type=kind,
        http=stored.http,
        builtin=stored.builtin,
        mcp=stored.mcp,
        functions=msgspec.json.decode(functions, type=list[Function]),
    )


SHELF: Shelf[Tool] = Shelf(
    TOOLS, "tool", ("description", "type", "settings", "functions"), _read, search=("name", "description")
)
