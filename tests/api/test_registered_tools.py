"""`/tools`: registering, secrets, OpenAPI documents, MCP servers, trying out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.core.ids import new_id
from secureai_appliance.governance.audit import SYSTEM
from tests.support.people import Person, person
from tests.support.running import Running
from tests.support.scripted import Heard, Line, Scripted, scripted

PARTS = "https://parts.example.org/"
SCHEMA = {"type": "object", "properties": {"part": {"type": "string"}}, "required": ["part"]}


@pytest.fixture(scope="module")
def ann(api: Running) -> Person:
    return person(api, "admin")


@pytest.fixture(scope="module")
def outside(api: Running) -> Iterator[Scripted]:
    with scripted(lambda _, line: line.answer_json(200, {"ok": True})) as server:
        with api.appliance.store.transaction() as tx:
            hosts = [f"127.0.0.1:{server.port}", "parts.example.org"]
            api.appliance.configs.put(tx, SYSTEM, "tools.allowed_hosts", hosts)
        yield server


def name() -> str:
    return new_id("t").replace("-", "_")


def make(ann: Person, http: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return ann.make("/tools", {"name": name(), "type": "http", "parameters": SCHEMA, "http": http, **fields})


def test_users_may_use_tools_and_not_make_them(api: Running) -> None:
    user = person(api)
    body = {"name": name(), "type": "builtin", "builtin": "calculator"}
    assert user.ask("POST", "/tools", body).status == 403
    assert user.ask("GET", "/tools").status == 200


def test_secrets_are_never_shown_and_do_not_move_to_another_server(ann: Person, outside: Scripted) -> None:
    http = {
        "url": f"{outside.url}/a",
        "headers": {"X-Key": "canary-header"},
        "auth": {"type": "basic", "username": "canary-user", "password": "canary-word"},
    }
    made = make(ann, http)
    assert (made["http"]["auth"], made["http"]["header_names"]) == ("basic", ["X-Key"])
    where = f"/tools/{made['id']}"
    invoked = ann.ask("POST", f"{where}/invoke", {"arguments": {"part": "x"}})
    assert invoked.json["ok"], invoked.body
    assert outside.heard[-1].headers["x-key"] == "canary-header"
    moved = ann.ask("PATCH", where, {"http": {"url": f"{outside.url}/b"}})
    assert moved.json["http"]["auth"] == "basic"
    ann.ask("POST", f"{where}/invoke", {"arguments": {"part": "x"}})
    assert (outside.heard[-1].path, outside.heard[-1].headers["x-key"]) == ("/b?part=x", "canary-header")
    elsewhere = ann.ask("PATCH", where, {"http": {"url": "https://parts.example.org/b"}}).json
    assert (elsewhere["http"]["auth"], elsewhere["http"]["header_names"]) == (None, [])
    back = ann.ask("PATCH", where, {"http": {"url": f"{outside.url}/c"}})
    assert back.status == 200
    ann.ask("POST", f"{where}/invoke", {"arguments": {"part": "x"}})
    assert not {"x-key", "authorization"} & outside.heard[-1].headers.keys()
    everything = (
        str([answer.body for answer in (invoked, moved, back)]) + str(made) + str(ann.ask("GET", "/tools").json)
    )
    assert "canary" not in everything


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"type": "http"}, 400, "http"),
        ({"type": "builtin", "builtin": "calculator", "http": {"url": "https://parts.example.org"}}, 400, "http"),
        ({"type": "builtin", "builtin": "shell"}, 400, "builtin"),
        ({"type": "http", "http": {"url": "ftp://parts.example.org"}}, 400, "http.url"),
        ({"type": "http", "http": {"url": "https://{host}.example.org/"}}, 400, "http.url"),
        ({"type": "http", "http": {"url": "https://parts.example.org/{what}"}}, 400, "http.url"),
        ({"type": "http", "http": {"url": "https://elsewhere.example.org/"}}, 422, "http.url"),
        (
            {"type": "http", "http": {"url": PARTS, "headers": {"Host": "x"}}},
            400,
            "http.headers",
        ),
        (
            {"type": "http", "http": {"url": PARTS, "headers": {"A": "b\r\nC: d"}}},
            400,
            "http.headers",
        ),
        (
            {"type": "http", "http": {"url": PARTS}, "parameters": {"type": "array"}},
            422,
            "parameters.type",
        ),
        (
            {
                "type": "http",
                "http": {"url": PARTS},
                "parameters": {"type": "object", "properties": {"a": {"$ref": "https://evil.example/x"}}},
            },
            422,
            "parameters",
        ),
    ],
)
def test_what_could_not_work_is_refused_by_name(
    ann: Person, outside: Scripted, body: dict[str, Any], status: int, field: str
) -> None:
    answer = ann.ask("POST", "/tools", {"name": name(), **body})
    assert (answer.status, answer.json["error"]["details"]["field"]) == (status, field)


def test_the_appliance_itself_is_never_a_tools_server(ann: Person, outside: Scripted) -> None:
    configs, store, port = ann.api.appliance.configs, ann.api.appliance.store, ann.api.port
    with store.transaction() as tx:
        hosts = [*configs.value("tools.allowed_hosts"), "localhost", "127.0.0.1", "127.0.0.2"]
        configs.put(tx, SYSTEM, "tools.allowed_hosts", hosts)
    for host in ("localhost", "127.0.0.1"):
        body = {"name": name(), "type": "http", "http": {"url": f"http://{host}:{port}/api/v1/keys"}}
        assert ann.ask("POST", "/tools", body).status == 422
    hidden = make(ann, {"url": f"http://127.0.0.2:{port}/healthz"})
    answer = ann.ask("POST", f"/tools/{hidden['id']}/invoke", {"arguments": {"part": "x"}}).json
    assert answer["error"]["code"] == "blocked"


def test_a_tool_is_tried_with_arguments_that_are_checked(ann: Person) -> None:
    tool = ann.make("/tools", {"name": name(), "type": "builtin", "builtin": "calculator"})
    where = f"/tools/{tool['id']}/invoke"
    good = ann.ask("POST", where, {"arguments": {"expression": "(17.5 + 3) * 12"}}).json
    assert (good["ok"], good["result"], good["error"]) == (True, "246", None)
    bad = ann.ask("POST", where, {"arguments": {"expression": 5}}).json
    assert (bad["ok"], bad["error"]["code"]) == (False, "invalid_arguments")
    assert ann.ask("POST", where, {"arguments": {}, "function": "other"}).status == 400


def test_a_long_result_is_cut(ann: Person, outside: Scripted) -> None:
    tool = make(ann, {"url": f"{outside.url}/long"})
    outside.script = lambda _, line: line.answer(200, b"x" * 20_000)
    answer = ann.ask("POST", f"/tools/{tool['id']}/invoke", {"arguments": {"part": "x"}}).json
    outside.script = lambda _, line: line.answer_json(200, {"ok": True})
    assert answer["truncated"]
    assert answer["result"] == "x" * 16_000 + "\n[4000 more characters are left out]"


DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "paths": {
        "/cars/{car}/parts": {
            "parameters": [{"name": "car", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "findParts",
                "summary": "Parts of a car",
                "parameters": [
                    {"name": "kind", "in": "query", "schema": {"$ref": "#/components/schemas/Kind"}},
                    {"name": "page", "in": "query", "schema": {"type": "integer", "format": "int32", "minimum": 1}},
                ],
            },
            "post": {
                "operationId": "add.part",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Part"}}}},
            },
        },
        "/upload": {"post": {"requestBody": {"required": True, "content": {"image/png": {}}}}},
    },
    "components": {
        "schemas": {
            "Kind": {"type": "string", "enum": ["brakes", "oil"]},
            "Part": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "(?=a)b"},
                    "kind": {"$ref": "#/components/schemas/Kind"},
                },
            },
        }
    },
}


def test_an_openapi_document_becomes_tools_that_work(ann: Person, outside: Scripted) -> None:
    answer = ann.ask(
        "POST", "/tools/import", {"document": DOCUMENT, "server_url": f"{outside.url}/v1", "prefix": name()[:8]}
    )
    assert answer.status == 201, answer.body
    find, add = answer.json["data"]
    assert answer.json["skipped"] == [{"operation": "post_upload", "reason": "its body is not JSON"}]
    assert find["functions"][0]["parameters"]["required"] == ["car"]
    assert find["description"] == "Parts of a car"
    arguments = {"car": "civic 2019", "kind": "brakes"}
    assert ann.ask("POST", f"/tools/{find['id']}/invoke", {"arguments": arguments}).json["ok"]
    assert outside.heard[-1].path == "/v1/cars/civic%202019/parts?kind=brakes"
    wrong = ann.ask("POST", f"/tools/{find['id']}/invoke", {"arguments": {"car": "x", "kind": "wings"}}).json
    assert wrong["error"]["code"] == "invalid_arguments"
    arguments = {"car": "x", "name": "pad", "kind": "oil"}
    assert ann.ask("POST", f"/tools/{add['id']}/invoke", {"arguments": arguments}).json["ok"]
    assert (outside.heard[-1].method, outside.heard[-1].json) == ("POST", {"name": "pad", "kind": "oil"})


def test_an_import_is_all_or_nothing(ann: Person, outside: Scripted) -> None:
    prefix = name()[:8]
    body = {"document": DOCUMENT, "server_url": outside.url, "prefix": prefix}
    ann.make("/tools", {"name": f"{prefix}add_part", "type": "builtin", "builtin": "calculator"})
    assert ann.ask("POST", "/tools/import", body).status == 409
    assert ann.ask("GET", f"/tools?name={prefix}findParts").json["total"] == 0
    one = ann.ask("POST", "/tools/import", {**body, "operations": ["findParts"]})
    assert [tool["name"] for tool in one.json["data"]] == [f"{prefix}findParts"]
    for bad in ({"document": {}}, {"document": {**DOCUMENT, "paths": 5}}, {"server_url": "x"}):
        assert ann.ask("POST", "/tools/import", {**body, **bad}).status == 400


class Mcp:
    """An MCP server with two tools, in the two ways in which one may answer."""

    def __init__(self, *, events: bool) -> None:
        self.events = events
        self.ended = 0
        self.more: list[dict[str, Any]] = []

    def __call__(self, heard: Heard, line: Line) -> None:
        if heard.method == "DELETE":
            self.ended += heard.headers["mcp-session-id"] == "s1"
            line.answer(200, b"")
            return
        asked = heard.json
        if "id" not in asked:
            line.answer(202, b"")
            return
        reply = {"jsonrpc": "2.0", "id": asked["id"], "result": self.result(asked["method"], asked["params"])}
        if not self.events:
            line.answer_json(200, reply, {"Mcp-Session-Id": "s1"})
            return
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nMcp-Session-Id: s1\r\n\r\n")
        line.event({"jsonrpc": "2.0", "method": "notifications/progress"})
        line.event(reply)
        line.hang()

    def result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "initialize":
            return {"protocolVersion": params["protocolVersion"], "capabilities": {}, "serverInfo": {}}
        if method == "tools/list":
            echo = {"name": "echo", "description": "Says it back", "inputSchema": SCHEMA}
            return {"tools": [echo, {"name": "fail", "inputSchema": {"type": "object"}}, *self.more]}
        if params["name"] == "fail":
            return {"isError": True, "content": [{"type": "text", "text": "No such part."}]}
        return {"content": [{"type": "text", "text": params["arguments"]["part"]}, {"type": "image", "data": ""}]}


@pytest.mark.parametrize("events", [False, True], ids=["JSON", "events"])
def test_an_mcp_server_is_asked_for_its_tools_and_called(ann: Person, outside: Scripted, events: bool) -> None:
    server = Mcp(events=events)
    outside.script = server
    tool = ann.make("/tools", {"name": name()[:8], "type": "mcp", "mcp": {"url": f"{outside.url}/mcp", "timeout": 5}})
    assert [function["name"] for function in tool["functions"]] == [f"{tool['name']}_echo", f"{tool['name']}_fail"]
    where = f"/tools/{tool['id']}/invoke"
    good = ann.ask("POST", where, {"function": f"{tool['name']}_echo", "arguments": {"part": "pad"}}).json
    assert good["result"] == "pad\n[image]", good
    bad = ann.ask("POST", where, {"function": f"{tool['name']}_fail", "arguments": {}}).json
    assert bad["error"] == {"code": "tool_error", "message": "No such part."}
    assert server.ended >= 2
    renamed = ann.ask("PATCH", f"/tools/{tool['id']}", {"name": "r" + tool["name"]}).json
    assert renamed["functions"][0]["name"] == f"r{tool['name']}_echo"
    outside.script = lambda _, line: line.answer_json(200, {"ok": True})


def test_an_mcp_server_is_asked_again_when_its_place_is_given_again_and_keeps_what_opens_it(
    ann: Person, outside: Scripted
) -> None:
    outside.script = server = Mcp(events=False)
    auth = {"type": "bearer", "token": "canary-token"}
    place = {"url": f"{outside.url}/mcp", "timeout": 5}
    tool = ann.make("/tools", {"name": name()[:8], "type": "mcp", "mcp": {**place, "auth": auth}})
    assert len(tool["functions"]) == 2
    server.more = [{"name": "stock", "description": "What is there", "inputSchema": SCHEMA}]
    again = ann.ask("PATCH", f"/tools/{tool['id']}", {"mcp": place}).json
    assert [function["name"] for function in again["functions"]][2:] == [f"{tool['name']}_stock"]
    assert again["mcp"]["auth"] == "bearer"
    call = {"function": f"{tool['name']}_stock", "arguments": {"part": "pad"}}
    assert ann.ask("POST", f"/tools/{tool['id']}/invoke", call).json["ok"]
    assert all(heard.headers["authorization"] == "Bearer canary-token" for heard in outside.heard[-3:])
    outside.script = lambda _, line: line.answer_json(200, {"ok": True})


@pytest.mark.parametrize(
    "greeting",
    [None, 5, [], {"protocolVersion": 5}, {"protocolVersion": "1\r\nX-Evil: 1"}, {"protocolVersion": "\u2603"}],
    ids=["null", "number", "list", "no text", "header", "snowman"],
)
def test_a_greeting_that_is_none_is_422(ann: Person, outside: Scripted, greeting: Any) -> None:
    server = Mcp(events=False)
    server.result = lambda *_: greeting  # type: ignore[method-assign]
    outside.script = server
    answer = ann.ask("POST", "/tools", {"name": name(), "type": "mcp", "mcp": {"url": outside.url}})
    assert (answer.status, answer.json["error"]["details"]["field"]) == (422, "mcp.url")
    outside.script = lambda _, line: line.answer_json(200, {"ok": True})


def test_of_what_an_mcp_server_lists_only_what_can_be_offered_is(ann: Person, outside: Scripted) -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}
    outside.script = server = Mcp(events=False)
    server.more = [
        {"name": "deep", "inputSchema": deep},
        {"name": "echo", "description": "The second of this name", "inputSchema": SCHEMA},
        {"name": "list", "inputSchema": {"type": "array"}},
        {"name": "nowhere", "inputSchema": {"type": "object", "$ref": "#/none"}},
        {"name": "last", "inputSchema": SCHEMA},
    ]
    tool = ann.make("/tools", {"name": name()[:8], "type": "mcp", "mcp": {"url": outside.url, "timeout": 5}})
    offered = [function["name"].removeprefix(f"{tool['name']}_") for function in tool["functions"]]
    assert offered == ["echo", "fail", "last"]
    outside.script = lambda _, line: line.answer_json(200, {"ok": True})


def test_what_is_no_mcp_server_is_422(ann: Person, outside: Scripted) -> None:
    for script in (lambda _, line: line.answer(404, b""), lambda _, line: line.answer(200, b"<html>")):
        outside.script = script
        answer = ann.ask("POST", "/tools", {"name": name(), "type": "mcp", "mcp": {"url": outside.url}})
        assert (answer.status, answer.json["error"]["details"]["field"]) == (422, "mcp.url")
    outside.script = lambda _, line: line.answer_json(200, {"ok": True})
