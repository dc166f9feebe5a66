"""Routes of every kind there is, on things that exist nowhere, and sources of streams that a test holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta

from secureai_appliance.core.errors import NotFound
from secureai_appliance.store import ListQuery
from secureai_appliance.web import health
from secureai_appliance.web.answers import Answer, EventSource, Stream
from secureai_appliance.web.pages import HTML
from secureai_appliance.web.parts import Check
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match
from secureai_appliance.web.route import Access, Route


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
