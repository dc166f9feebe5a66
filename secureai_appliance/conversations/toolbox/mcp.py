"""The part of the Model Context Protocol that calling tools needs: JSON-RPC over HTTP, as a client.

The official library brings a web server, pydantic and an HTTP client of its own, which would dial past the door that
checks addresses. What is needed of the protocol is four messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from secureai_appliance import __version__
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.core.network import Call

PROTOCOL = "2025-06-18"
_MOST_PAGES = 20
_ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

Open = Callable[[str, Mapping[str, str], bytes | None], Call]
"""Makes a request (method, headers, body) that was not sent yet."""


class ListedFunction(msgspec.Struct, rename="camel"):
    """A tool as a server lists it."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any] = {}


class _Greeting(msgspec.Struct, rename="camel"):
    protocol_version: str = PROTOCOL


class _Tools(msgspec.Struct, rename="camel"):
    tools: list[ListedFunction]
    next_cursor: str | None = None


class _Content(msgspec.Struct):
    type: str
    text: str = ""


class _CallResult(msgspec.Struct, rename="camel"):
    content: list[_Content] = []
    structured_content: Any = None
    is_error: bool = False


class _Error(msgspec.Struct):
    message: str = ""
    code: int = 0


class _Reply(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: _Error | None = None


class Session:
    """One conversation with a server; `close` ends it there too."""

    def __init__(self, open_: Open) -> None:
        """Greets the server. Raises ToolFailure, NetworkError."""
        self._open = open_
        self._headers: dict[str, str] = dict(_ACCEPT)
        self._number = 0
        info = {"name": "SecureAI Appliance", "version": __version__}
        greeting = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": info}
        version = _decoded(self._ask("initialize", greeting), _Greeting).protocol_version
        # it becomes a header
        if not re.fullmatch(r"[\w.-]{1,40}", version, re.ASCII):
            raise ToolFailure("garbled", "The MCP server speaks no version of the protocol.")
        self._headers["MCP-Protocol-Version"] = version
        self._notify("notifications/initialized")

    def functions(self) -> list[ListedFunction]:
        """Everything that the server offers."""
        found: list[ListedFunction] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = _decoded(self._ask("tools/list", {"cursor": cursor} if cursor else {}), _Tools)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What the server's tool says. Raises ToolFailure when the tool says that it failed."""
        result = _decoded(self._ask("tools/call", {"name": name, "arguments": arguments}), _CallResult)
        parts = [part.text if part.type == "text" else f"[{part.type[:40]}]" for part in result.content]
        text = "\n".join(parts)
        if not text and result.structured_content is not None:
            text = msgspec.json.encode(result.structured_content).decode()
        if result.is_error:
            raise ToolFailure("tool_error", text[:500] or "The tool says that it failed.")
        return text

    def close(self) -> None:
        """Let the server forget the session, where it gave one. Raises NetworkError."""
        if "Mcp-Session-Id" in self._headers:
            headers = {name: value for name, value in self._headers.items() if name not in _ACCEPT}
            with self._open("DELETE", headers, None) as call:
                call.open()

    def _ask(self, method: str, params: dict[str, Any]) -> msgspec.Raw:
        self._number += 1
        sent = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        with self._open("POST", self._headers, msgspec.json.encode(sent)) as call:
            status = call.open()
            if status != 200:
                raise ToolFailure("server_error", f"The MCP server answered {status}.")
            if (session := call.headers.get("mcp-session-id")) and session.isascii() and session.isprintable():
                self._headers["Mcp-Session-Id"] = session
            for message in _messages(call):
                reply = _decoded(message, _Reply)
                if reply.id == self._number:
                    return _result(reply)
        raise ToolFailure("garbled", "The MCP server did not answer the request.")

    def _notify(self, method: str) -> None:
        sent = msgspec.json.encode({"jsonrpc": "2.0", "method": method})
        with self._open("POST", self._headers, sent) as call:
            call.open()


def _messages(call: Call) -> Iterator[bytes]:
    """The messages of an answer: one, or several as server-sent events, as they come."""
    if "text/event-stream" not in call.headers.get("content-type", ""):
        yield b"".join(call)
        return
    rest = b""
    data: list[bytes] = []
    for piece in call:
        *lines, rest = (rest + piece).split(b"\n")
        for raw in lines:
            line = raw.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line and data:
                yield b"\n".join(data)
                data = []
    if data:
        yield b"\n".join(data)


def _result(reply: _Reply) -> msgspec.Raw:
    if reply.error is not None:
        raise ToolFailure("refused", f"The MCP server refused: {reply.error.message[:300]}")
    if not bytes(reply.result):
        raise ToolFailure("garbled", "The MCP server answered without a result.")
    return reply.result


def _decoded(message: bytes | msgspec.Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(message, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise ToolFailure("garbled", "The MCP server answered something that can't be understood.") from cause
