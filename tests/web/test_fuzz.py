"""Promise 10 and 11, fuzzed: never a 5xx, never anything but the one shape, never a word of the inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secureai_appliance.core.errors import every_failure
from tests.support.web import App, Received

TYPES = {(failure.status, failure.type) for failure in every_failure()}
CHECKOUT = os.fsencode(Path(__file__).resolve().parents[2])
INSIDE = (b"Traceback", b"SELECT", b"msgspec", b".py", b"waitress", b"bottle", b"/home/", CHECKOUT)

many = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("name"),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["name", "size", "model", "messages", "role"]) | st.text(), inner)
    ),
    max_leaves=20,
)
headers = st.dictionaries(
    st.sampled_from(
        ["Content-Type", "Content-Length", "Content-Encoding", "Authorization", "If-Match", "If-None-Match",
         "Idempotency-Key", "Cookie", "Host", "Origin", "X-Forwarded-For", "Accept"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
)  # fmt: skip
latin = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=60)


def check(got: Received, *sent: object) -> None:
    """`sent`: what the caller made up, and may therefore be told again."""
    assert got.status < 500, got.body
    if got.status >= 400:
        assert (got.status, got.error["type"]) in TYPES
        assert not any(word in got.body for word in INSIDE if word.decode() not in repr(sent)), got.body


@many
@given(body=st.binary(max_size=300) | values.map(lambda value: json.dumps(value).encode()))
def test_any_body(app: App, body: bytes) -> None:
    for target in ("/api/v1/things", "/api/v1/talk"):
        check(app.call("POST", target, body), body)


@many
@given(
    value=st.fixed_dictionaries(
        {}, optional={"model": values, "messages": values, "stream": values, "name": values, "size": values}
    )
)
def test_any_values_of_known_fields(app: App, value: Any) -> None:
    for target in ("/api/v1/things", "/api/v1/talk"):
        check(app.call("POST", target, json.dumps(value).encode()), value)


@many
@given(path=latin, query=latin, method=st.sampled_from(["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"]))
def test_any_path_and_query(app: App, path: str, query: str, method: str) -> None:
    for prefix in ("", "/", "/api/v1/things/", "/api/", "/static/"):
        environ = {"PATH_INFO": prefix + path, "QUERY_STRING": query, "REQUEST_URI": prefix + path + "?" + query}
        got = app.call(method, "/", **environ)
        if method == "HEAD":
            assert got.status < 500
        else:
            check(got, path, query)


@many
@given(query=st.lists(st.tuples(st.sampled_from(["page", "page_size", "sort", "q", "cursor"]), latin), max_size=4))
def test_any_list_query(app: App, query: list[tuple[str, str]]) -> None:
    from urllib.parse import urlencode

    check(app.call("GET", "/api/v1/things?" + urlencode(query)), query)


@many
@given(given_headers=headers, method=st.sampled_from(["GET", "POST", "PATCH", "DELETE"]))
def test_any_headers(app: App, given_headers: dict[str, str], method: str) -> None:
    app.does.names["t"] = "a"
    body = b'{"name": "a"}' if method in {"POST", "PATCH"} else None
    for target in ("/api/v1/things", "/api/v1/things/t", "/page", "/api/v1/talk"):
        check(app.call(method, target, body, headers=given_headers), given_headers)
