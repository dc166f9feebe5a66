"""Tools as clients see them: what is given to register one, and what is shown of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts.sharing import Visibility
from secureai_appliance.accounts.shelf import Possession, Shares, ShelfQuery
from secureai_appliance.conversations.toolbox.builtins import BuiltinName

ToolType = Literal["http", "builtin", "mcp"]
FunctionName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
Description = Annotated[str, Meta(max_length=2000)]
Url = Annotated[str, Meta(min_length=1, max_length=2000)]
Secret = Annotated[str, Meta(min_length=1, max_length=3000)]
Headers = Annotated[dict[str, str], Meta(max_length=20)]
Timeout = Annotated[float, Meta(ge=0.1, le=120)]


class ToolAuth(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What opens the server: `bearer` with `token`, `basic` with `username` and `password`. Sealed, never shown."""

    type: Literal["bearer", "basic"]
    token: Secret | None = None
    username: Secret | None = None
    password: Secret | None = None


class HttpTool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request. `{name}` in `url` (after the host) and `{{name}}` in `body` stand for arguments.

    Without a `body` the arguments that are left go into the query (GET, HEAD, DELETE) or are the body as JSON. What
    `headers` hold is sealed. `timeout` in seconds.
    """

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Url
    headers: Headers = {}
    body: Any = None
    auth: ToolAuth | None = None
    timeout: Timeout = 20.0


class McpServer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A server of the Model Context Protocol (streamable HTTP). `timeout` in seconds, for a whole call."""

    url: Url
    headers: Headers = {}
    auth: ToolAuth | None = None
    timeout: Timeout = 30.0


class ToolCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new tool: `type` says which of `http`, `builtin` and `mcp` is given with it.

    `parameters` is the JSON schema of an `http` tool's arguments; the others bring theirs.
    """

    name: FunctionName
    description: Description = ""
    type: ToolType
    parameters: dict[str, Any] | None = None
    http: HttpTool | None = None
    builtin: BuiltinName | None = None
    mcp: McpServer | None = None
    visibility: Visibility = "private"
    shares: Shares = []


class ToolPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a tool; what is left out stays. `http` and `mcp` are replaced as a whole.

    Only headers and auth that are left out stay, while scheme, host and port do.
    """

    name: FunctionName | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    http: HttpTool | UnsetType = UNSET
    mcp: McpServer | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    shares: Shares | UnsetType = UNSET


class Function(msgspec.Struct, kw_only=True):
    """What a model may call."""

    name: str
    description: str
    parameters: dict[str, Any]


class ShownHttp(msgspec.Struct, kw_only=True):
    """An `http` tool without what opens it."""

    method: str
    url: str
    header_names: list[str]
    body: Any
    auth: Literal["bearer", "basic"] | None
    timeout: float


class ShownMcp(msgspec.Struct, kw_only=True):
    """An MCP server without what opens it."""

    url: str
    header_names: list[str]
    auth: Literal["bearer", "basic"] | None
    timeout: float


class Tool(Possession, kw_only=True):
    """A tool. `functions` is what a model may call: one, or what the MCP server listed when it was last asked."""

    description: str
    type: ToolType
    http: ShownHttp | None
    builtin: BuiltinName | None
    mcp: ShownMcp | None
    functions: list[Function]


class ToolQuery(ShelfQuery, kw_only=True):
    """`type`: tools of that type."""

    type: ToolType | None = None
