"""Secrets that are sent through every route appear in no log line, audit row, error, metric or file name (P33)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from secureai_appliance.web.route import Route
from secureai_appliance.web.routes import route_table
from tests.support.audit import newest, rows
from tests.support.running import Response, Running

CANARY = "canary7Qm2Zt9Xw4Lr8Vb3Ny6Kd1Hs5"
HEADERS = ("Authorization", "Cookie", "Idempotency-Key", "If-Match", "If-None-Match", "User-Agent", "Referer", "Origin")
ECHO = re.compile(rf"There is no (model|file) '{CANARY}'|'{CANARY}' is no scope|has the name '{CANARY}'")
"""A name is said back to whoever asked for what it should name, and to nobody else: else a typing error is not seen."""


class Lines(logging.Handler):
    """Every line of every logger, tracebacks included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(message)s"))
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record) + "\n"


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def bodies(route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
    """The example with each field in turn, and each string inside, made the canary; and an unknown field."""
    if route.body is None:
        return
    # a model that can't do this, so that nothing is computed
    example = {**(route.example or {}), **({"model": "all-minilm-l6-v2"} if "model" in (route.example or {}) else {})}
    for field in route.body.__struct_fields__:
        yield field, {**example, field: CANARY}
        yield field, {**example, field: [CANARY]}
        yield field, {**example, field: {"x": CANARY}}
    yield "", {key: value if key == "model" else replaced(value) for key, value in example.items()}


def replaced(value: Any) -> Any:
    if isinstance(value, str):
        return CANARY
    if isinstance(value, list):
        return [replaced(item) for item in value]
    return {key: replaced(item) for key, item in value.items()} if isinstance(value, dict) else value


def sent_through(api: Running, route: Route) -> Iterator[tuple[str, Response]]:
    """What was sent where, and the answer."""
    path = re.sub(r"\{\w+\}", "none", route.path)
    body = b"{}" if route.body else None
    for header in HEADERS:
        value = {"Authorization": f"Bearer {CANARY}", "Cookie": f"secureai_session={CANARY}"}.get(header, CANARY)
        yield header, api.ask(route.method, path, body, headers={header: value})
    if "{" in route.path:
        yield "path", api.ask(route.method, re.sub(r"\{\w+\}", CANARY, route.path), body)
    for field in route.query.__struct_fields__ if route.query else ():
        yield field, api.ask(route.method, f"{path}?{field}={quote(CANARY)}", body)
    if route.form:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": api.appliance.address}
        sent = f"email={CANARY}&password={CANARY}&token={CANARY}&code={CANARY}".encode()
        yield "form", api.ask(route.method, path, sent, key=None, headers=form)
    for field, value in bodies(route):
        yield field, api.ask(route.method, path, value)


@pytest.mark.parametrize("route", route_table(), ids=name)
def test_a_secret_sent_through_a_route_is_found_nowhere(api: Running, route: Route, lines: Lines) -> None:
    before = newest(api.appliance.store)
    for place, answer in sent_through(api, route):
        assert answer.status < 500, place
        if answer.status >= 400:
            assert CANARY not in ECHO.sub("", answer.body.decode()) + json.dumps(answer.headers), place
    assert lines.text, "nothing was logged: the test can't see the log"
    look(api, lines, before)


def test_what_is_said_to_a_model_is_found_nowhere(api: Running, lines: Lines) -> None:
    before = newest(api.appliance.store)
    assert api.chat(CANARY, max_tokens=1, user=CANARY, metadata={"x": CANARY}).status == 200
    look(api, lines, before)


def look(api: Running, lines: Lines, before: int) -> None:
    api.appliance._refusals.flush(api.appliance.store, 0, unfinished=True)
    with api.appliance.store.read() as db:
        written = [str(row) for row in rows(db, before)]
    assert not [row for row in written if CANARY in row]
    assert not [line for line in lines.text.splitlines() if CANARY in line]
    assert CANARY not in api.ask("GET", "/metrics").body.decode()
    root = api.appliance.settings.data_folder.root
    assert not [path for path in root.rglob("*") if CANARY in str(path)]
