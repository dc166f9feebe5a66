"""A small web application on the real machinery: its own routes, a real store, fake sources; and ways to talk to it."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Meta

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.second_factors import SecondFactors
from secureai_appliance.accounts.sign_ins import SignIns
from secureai_appliance.appliance import OWNERSHIP
from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance.addresses import Addresses
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.governance.usage import Usage
from secureai_appliance.settings import Settings
from secureai_appliance.store import ListQuery, Store
from secureai_appliance.web import health
from secureai_appliance.web.answers import Answer, EventSource, Stream
from secureai_appliance.web.gateway import Gateway
from secureai_appliance.web.metrics import Metrics
from secureai_appliance.web.pages import HTML
from secureai_appliance.web.parts import Check, Parts
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match
from secureai_appliance.web.route import Access, Route
from secureai_appliance.web.server import Server, listen
from tests.support.audit import open_audited
from tests.support.clock import FakeClock
from tests.support.limits import lift_limits


class Thing(msgspec.Struct, kw_only=True):
    """A resource."""

    id: str
    name: str


class ThingCreated(Thing, kw_only=True):
    """With its secret."""

    secret: str


class ThingCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new resource."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    size: Annotated[int, Meta(ge=1, le=10)] = 1


class ThingPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A changed resource."""

    name: str


class Said(msgspec.Struct, kw_only=True):
    """A message, as in OpenAI's requests."""

    role: Literal["user", "assistant"]
    content: str


class Talk(msgspec.Struct, kw_only=True):
    """A request in OpenAI's manner."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Said], Meta(min_length=1)]
    stream: bool = False


class Heard(msgspec.Struct, kw_only=True):
    """Its answer."""

    id: str
    content: str


class ScriptedSource:
    """An event source that plays a script: bytes, comments, None (silence), or an exception to raise.

    `waited` is called for each silence, so that a test can move its clock or hang up instead of sleeping.
    """

    def __init__(self, *script: bytes | str | BaseException | None, waited: Callable[[], None] = lambda: None) -> None:
        self._script = list(script)
        self._waited = waited
        self.closed = 0
        self.asked = 0

    def next(self, timeout: float) -> bytes | str | None:
        assert not self.closed, "asked after it was closed"
        assert timeout <= 0.05
        self.asked += 1
        if not self._script:
            raise StopIteration
        item = self._script.pop(0)
        if isinstance(item, BaseException):
            raise item
        if item is None:
            self._waited()
        return item

    def close(self) -> None:
        self.closed += 1


class HeldSource:
    """An event source that says nothing until it is let go, and knows when it was closed. For real servers."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.closed = threading.Event()

    def next(self, timeout: float) -> bytes | str | None:
        if self.go_on.wait(timeout):
            raise StopIteration
        return None

    def close(self) -> None:
        self.closed.set()


class FloodSource:
    """An event source that never ends and never waits."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def next(self, _: float) -> bytes | str | None:
        return b'"' + b"x" * 16_000 + b'"'

    def close(self) -> None:
        self.closed.set()


@dataclass
class Behaviour:
    """What the test routes do, for a test to change."""

    names: dict[str, str] = field(default_factory=dict)
    source: Callable[[], EventSource] = lambda: ScriptedSource(b'{"n":1}', b'{"n":2}')
    on_talk: Callable[[Request[Talk, None]], None] = lambda _: None
    calls: int = 0
    defect: BaseException = field(default_factory=lambda: RuntimeError("/secret/path SELECT * FROM users sk-canary"))
    checks: list[Check] = field(default_factory=list)


def routes(does: Behaviour) -> tuple[Route, ...]:
    """Routes of every kind there is."""

    def index(request: Request[None, ListQuery]) -> Thing:
        return Thing(id="list", name=f"{request.query.page}/{request.query.page_size}")

    def create(request: Request[ThingCreate, None]) -> ThingCreated:
        does.calls += 1
        thing = f"thing-{does.calls}"
        request.tx.run(
            "INSERT INTO sign_in_links (token_hash, user_id, expires_at, created_at) VALUES (?, ?, 0, 0)",
            *(thing.encode(), request.caller.user_id),
        )
        does.names[thing] = request.body.name
        if request.body.name == "break":
            raise does.defect
        return ThingCreated(id=thing, name=request.body.name, secret="sk-canary")

    def show(request: Request[None, None]) -> Thing:
        name = does.names.get(request.path["id"])
        if name is None:
            raise NotFound("There is no such thing.")
        return Thing(id=request.path["id"], name=name)

    def update(request: Request[ThingPatch, None]) -> Thing:
        require_match(request, show(cast("Request[None, None]", request)))
        does.names[request.path["id"]] = request.body.name
        return show(cast("Request[None, None]", request))

    def delete(request: Request[None, None]) -> None:
        require_match(request, show(request))
        del does.names[request.path["id"]]

    def talk(request: Request[Talk, None]) -> Heard | Stream:
        does.calls += 1
        does.on_talk(request)
        if request.body.stream:
            return Stream(does.source(), id="resp-1")
        return Heard(id=f"resp-{does.calls}", content=request.body.messages[-1].content)

    def page(_: Request[None, None]) -> Answer:
        return Answer(body=b"<p>Hello", content_type="text/html; charset=utf-8")

    def breaks(_: Request[None, None]) -> None:
        raise does.defect

    api = "/api/v1"
    return (
        Route("GET", f"{api}/things", index, "keys:read", "List", "Things", query=ListQuery, answer=Thing),
        Route(
            "POST", f"{api}/things", create, "keys:write", "Make", "Things",
            body=ThingCreate, answer=ThingCreated, status=201, writes=True, secret_field="secret", unaudited="of tests",
        ),
        Route("GET", f"{api}/things/{{id}}", show, "keys:read", "Show", "Things", answer=Thing),
        Route(
            "PATCH", f"{api}/things/{{id}}", update, "keys:write", "Change", "Things",
            body=ThingPatch, answer=Thing, writes=True, unaudited="of tests",
        ),
        Route("DELETE", f"{api}/things/{{id}}", delete, "keys:write", "Drop", "Things", status=204, writes=True,
            unaudited="of tests"),
        Route(
            "POST", f"{api}/talk", talk, "completions:create", "Talk", "Talk",
            body=Talk, answer=Heard, openai=True, streams=True, max_body=16 * 1024 * 1024, limit="completions",
        ),
        Route("GET", f"{api}/defect", breaks, Access.PUBLIC, "Break", "Things", answer=Thing),
        Route("GET", f"{api}/me", show, Access.SIGNED_IN, "Me", "Things", answer=Thing),
        Route("GET", "/healthz", health.healthz, Access.PUBLIC, "Alive?", "Service", answer=health.Health),
        Route("GET", "/readyz", health.readyz, Access.PUBLIC, "Ready?", "Service", answer=health.Health),
        Route(
            "GET", "/metrics", health.metrics, "metrics:read", "Metrics", "Service",
            public_if="metrics_public", content_type="text/plain",
        ),
        Route("GET", "/page", page, Access.SIGNED_IN, "A page", content_type=HTML),
        Route(
            "POST", "/page", create, Access.SIGNED_IN, "A form",
            body=ThingCreate, status=201, writes=True, content_type=HTML, unaudited="of tests",
        ),
    )  # fmt: skip


@dataclass
class Received:
    """An answer as a client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, checked to have the one shape and the same id as the header."""
        content = self.json
        assert list(content) == ["error"]
        error: dict[str, Any] = content["error"]
        allowed = {"type", "message", "details", "code", "param", "request_id"}
        assert allowed <= set(error) <= {*allowed, "retry_after"}
        assert self.headers["content-type"] == "application/json"
        assert error["request_id"] == self.headers["x-request-id"]
        assert ("retry_after" in error) == ("retry-after" in self.headers)
        return error


@dataclass
class App:
    """The application, called in this thread."""

    gateway: Gateway
    parts: Parts
    does: Behaviour
    key: str
    user_id: str

    def new_key(self, *scopes: str, expires_at: str | None = None) -> str:
        """A key of the same user; without scopes it may do everything."""
        with self.parts.store.transaction() as tx:
            caller = users.caller_of(tx, self.user_id)
            return keys.create(tx, caller, KeyCreate(name="k", scopes=list(scopes) or None, expires_at=expires_at)).key

    def environ(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str], **more: Any
    ) -> dict[str, Any]:
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "REQUEST_URI": target,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "127.0.0.1:8080",
            "wsgi.input": io.BytesIO(body or b""),
            "wsgi.input_terminated": True,
        }
        if body is not None:
            environ |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
        for name, value in headers.items():
            variable = name.upper().replace("-", "_")
            environ[variable if variable in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{variable}"] = value
        return environ | more

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Received:
        """One request. `body`: bytes as they are, anything else as JSON. `key` None: none; "": the app's."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = dict(headers or {})
        if key is not None:
            given.setdefault("Authorization", f"Bearer {key or self.key}")
        environ = self.environ(method, target, raw, given, **more)
        started: list[Any] = []

        def start_response(status: str, response_headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            assert not started or exc_info
            assert all(isinstance(part, str) for pair in response_headers for part in pair)
            started[:] = [status, response_headers]

        result = self.gateway(environ, start_response)
        try:
            content = b"".join(result)
        finally:
            result.close()  # type: ignore[attr-defined]
        status, response_headers = started
        cookies = [value for name, value in response_headers if name == "Set-Cookie"]
        names = [name.lower() for name, _ in response_headers if name != "Set-Cookie"]
        assert len(names) == len(set(names)), "a header is there twice"
        found = {name.lower(): value for name, value in response_headers}
        assert found["x-request-id"].startswith("req-")
        assert found["x-content-type-options"] == "nosniff"
        if "content-length" in found and method != "HEAD":
            assert int(found["content-length"]) == len(content)
        return Received(int(status.split()[0]), found, content, cookies)


def parts_on(
    store: Store,
    clock: FakeClock,
    data: DataFolder,
    settings: Settings | None = None,
    checks: Callable[[], list[Check]] = list,
) -> Parts:
    """The parts of an appliance without models."""
    sealer = Sealer(bytes(32))
    configs = Configs(store, sealer)
    return Parts(
        settings=settings or Settings(),
        data=data,
        clock=clock,
        store=store,
        sealer=sealer,
        sign_ins=SignIns(store, clock, sealer),
        second_factors=SecondFactors(sealer),
        ownership=OWNERSHIP,
        configs=configs,
        addresses=Addresses(clock),
        quotas=Quotas(store, configs, clock),
        usage=Usage(store, clock, lambda: configs.value("usage.prices")),
        models=cast(Any, None),
        toolbox=cast(Any, None),
        uploads=cast(Any, None),
        turns=cast(Any, None),
        ingest=cast(Any, None),
        metrics=Metrics(),
        readiness=checks,
        schedule=list,
    )


@contextmanager
def app_on(
    folder: Path, clock: FakeClock, settings: Settings | None = None, does: Behaviour | None = None
) -> Iterator[App]:
    """An application on a new store, with one user who may do everything."""
    does = does or Behaviour()
    store = open_audited(folder / "web.db", clock, synchronous="OFF")
    try:
        with store.transaction() as tx:
            user = users.create(tx, email="a@example.test", name="A", role="admin")
        parts = parts_on(store, clock, DataFolder(folder), settings, lambda: does.checks)
        lift_limits(store, parts.configs)
        app = App(Gateway(parts, routes(does)), parts, does, "", user.id)
        app.key = app.new_key()
        yield app
    finally:
        store.close()


@dataclass
class Client:
    """A raw connection to a server."""

    port: int
    socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        self._read = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, target: str, body: bytes = b"", *headers: str) -> Received:
        self.send(request_bytes(method, target, body, *headers))
        return self.receive(has_body=method != "HEAD")

    def until(self, mark: bytes) -> bytes:
        """What arrives up to and including `mark`."""
        while mark not in self._read:
            piece = self.socket.recv(65536)
            assert piece, f"closed after {self._read[-300:]!r}"
            self._read += piece
        at = self._read.index(mark) + len(mark)
        found, self._read = self._read[:at], self._read[at:]
        return found

    def receive(self, *, has_body: bool = True) -> Received:
        """One answer with a Content-Length."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0)) if has_body else 0
        while len(self._read) < length:
            piece = self.socket.recv(65536)
            assert piece
            self._read += piece
        body, self._read = self._read[:length], self._read[length:]
        return Received(int(first.split()[1]), headers, body)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        while piece := self.socket.recv(65536):
            self._read += piece
        return self._read

    def close(self) -> None:
        self.socket.close()


def request_bytes(method: str, target: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextmanager
def serving(app: App, grace: float = 3.0) -> Iterator[Server]:
    """The application behind a real server on a free port."""
    server = Server(app.parts, listen("127.0.0.1", 0), app.gateway)
    server.start()
    try:
        yield server
    finally:
        server.stop(grace)
