"""A small web application on the real machinery: its own routes, a real store, fake sources; and ways to talk to it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.second_factors import SecondFactors
from secureai_appliance.accounts.sign_ins import SignIns
from secureai_appliance.appliance import OWNERSHIP
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance.addresses import Addresses
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.governance.usage import Usage
from secureai_appliance.settings import Settings
from secureai_appliance.store import Store
from secureai_appliance.web.gateway import Gateway
from secureai_appliance.web.metrics import Metrics
from secureai_appliance.web.parts import Check, Parts
from tests.support.audit import open_audited
from tests.support.clock import FakeClock
from tests.support.limits import lift_limits
from tests.support.web_routes import Behaviour, routes


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
