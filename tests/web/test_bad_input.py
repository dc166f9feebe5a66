"""Promise 10 and 11: whatever is sent, an error of the documented status and type in the one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.web import App

THINGS = "/api/v1/things"
TALK = "/api/v1/talk"
GOOD = {"name": "a"}


def deep(levels: int) -> bytes:
    return b'{"name":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


BODIES: list[tuple[str, bytes | None, int, str, str | None]] = [
    ("no body", None, 400, "invalid_json", None),
    ("an empty body", b"", 400, "invalid_json", None),
    ("only spaces", b"  \n", 400, "invalid_json", None),
    ("not JSON", b"{name: 1}", 400, "invalid_json", None),
    ("cut off", b'{"name": "a"', 400, "invalid_json", None),
    ("text after it", b'{"name": "a"} x', 400, "invalid_json", None),
    ("NaN", b'{"name": "a", "size": NaN}', 400, "invalid_json", None),
    ("Infinity", b'{"name": "a", "size": -Infinity}', 400, "invalid_json", None),
    ("a float that overflows", b'{"name": "a", "size": 1e999}', 400, "invalid_json", None),
    ("a whole number over 64 bits", b'{"name": "a", "size": 9223372036854775808}', 400, "invalid_json", None),
    ("a whole number of 5,000 digits", b'{"name": "a", "size": ' + b"9" * 5000 + b"}", 400, "invalid_json", None),
    ("duplicate keys", b'{"name": "a", "name": "b"}', 400, "invalid_json", "name"),
    ("duplicate keys inside", b'{"name": {"x": 1, "x": 2}}', 400, "invalid_json", "x"),
    ("half a surrogate pair", b'{"name": "\\ud800"}', 400, "invalid_json", None),
    ("half a pair as a name", b'{"\\udfff": 1, "name": "a"}', 400, "invalid_json", None),
    ("a doubled half pair", b'{"\\udfff": 1, "\\udfff": "a"}', 400, "invalid_json", "?"),
    ("Latin-1", '{"name": "é"}'.encode("latin-1"), 400, "invalid_json", None),
    ("UTF-16", '{"name": "a"}'.encode("utf-16"), 400, "invalid_json", None),
    ("a byte order mark", b'\xef\xbb\xbf{"name": "a"}', 400, "invalid_json", None),
    ("65 levels", deep(65), 400, "invalid_json", None),
    ("100,000 levels", deep(100_000), 400, "invalid_json", None),
    ("100,000 levels that are never closed", b"[" * 100_000, 400, "invalid_json", None),
    ("64 levels of the wrong type", deep(64), 400, "validation_error", "name"),
    ("a list", b"[]", 400, "validation_error", None),
    ("a string", b'"name"', 400, "validation_error", None),
    ("null", b"null", 400, "validation_error", None),
    ("a missing field", b"{}", 400, "validation_error", "name"),
    ("a wrong type", b'{"name": 5}', 400, "validation_error", "name"),
    ("a float for a whole number", b'{"name": "a", "size": 1.5}', 400, "validation_error", "size"),
    ("true for a number", b'{"name": "a", "size": true}', 400, "validation_error", "size"),
    ("a text for a number", b'{"name": "a", "size": "1"}', 400, "validation_error", "size"),
    ("too small", b'{"name": "a", "size": 0}', 400, "validation_error", "size"),
    ("too large", b'{"name": "a", "size": 11}', 400, "validation_error", "size"),
    ("too short", b'{"name": ""}', 400, "validation_error", "name"),
    ("an unknown field", b'{"name": "a", "colour": 1}', 400, "validation_error", "colour"),
    ("over 1 MB", b'{"name": "' + b"x" * (1024 * 1024) + b'"}', 413, "payload_too_large", None),
    ("5 MB", b" " * (5 * 1024 * 1024), 413, "payload_too_large", None),
]


@pytest.mark.parametrize(("body", "status", "kind", "field"), [case[1:] for case in BODIES], ids=[c[0] for c in BODIES])
def test_a_bad_body_is_refused(app: App, body: bytes | None, status: int, kind: str, field: str | None) -> None:
    got = app.call("POST", THINGS, body)
    assert (got.status, got.error["type"]) == (status, kind)
    assert got.error["details"].get("field") == field
    assert app.does.calls == 0


@pytest.mark.parametrize(
    "body", [b'{"a": [' + b"1," * 1_100_000 + b"1]}", b'""' * 1_200_000, b"[]" * 600_000 + b"{}" * 600_000]
)
def test_more_values_than_any_request_needs_are_refused(app: App, body: bytes) -> None:
    got = app.call("POST", TALK, body)
    assert (got.status, got.error["type"]) == (413, "payload_too_large")


def test_64_levels_and_brackets_in_strings_are_fine(app: App) -> None:
    talk = {"model": "m", "messages": [{"role": "user", "content": "[{" * 500}]}
    nested: Any = 1
    for _ in range(63):
        nested = [nested]
    assert app.call("POST", TALK, {**talk, "extra": nested}).status == 200


REQUESTS: list[tuple[str, str, str, bytes | None, dict[str, str], int, str]] = [
    ("unknown path", "GET", "/api/v1/nothing", None, {}, 404, "not_found"),
    ("root", "GET", "/", None, {}, 404, "not_found"),
    ("other version", "GET", "/api/v2/things", None, {}, 404, "not_found"),
    ("trailing slash", "GET", THINGS + "/", None, {}, 404, "not_found"),
    ("path that is not UTF-8", "GET", "/api/v1/things/%ff", None, {}, 404, "not_found"),
    ("path with a line break", "GET", "/api/v1/things/a%0a", None, {}, 404, "not_found"),
    ("path with a null", "GET", "/healthz%00", None, {}, 404, "not_found"),
    ("wrong method", "DELETE", THINGS, None, {}, 405, "method_not_allowed"),
    ("TRACE", "TRACE", THINGS, None, {}, 405, "method_not_allowed"),
    ("unknown method", "BREW", THINGS, None, {}, 501, "not_implemented"),
    ("page_size 0", "GET", THINGS + "?page_size=0", None, {}, 400, "validation_error"),
    ("page_size 101", "GET", THINGS + "?page_size=101", None, {}, 400, "validation_error"),
    ("page_size -1", "GET", THINGS + "?page_size=-1", None, {}, 400, "validation_error"),
    ("page_size x", "GET", THINGS + "?page_size=x", None, {}, 400, "validation_error"),
    ("page_size 1e1", "GET", THINGS + "?page_size=1e1", None, {}, 400, "validation_error"),
    ("page 1.0", "GET", THINGS + "?page=1.0", None, {}, 400, "validation_error"),
    ("page_size of 5,000 digits", "GET", THINGS + "?page_size=" + "9" * 5000, None, {}, 400, "validation_error"),
    ("parameter twice", "GET", THINGS + "?page=1&page=2", None, {}, 400, "validation_error"),
    ("unknown parameter", "GET", THINGS + "?colour=1", None, {}, 400, "validation_error"),
    ("parameter where none is", "GET", "/api/v1/things/a?x=1", None, {}, 400, "validation_error"),
    ("query that is not UTF-8", "GET", THINGS + "?q=%ff", None, {}, 400, "validation_error"),
    (
        "100 parameters",
        "GET",
        THINGS + "?" + "&".join(f"a{n}=1" for n in range(100)),
        None,
        {},
        400,
        "validation_error",
    ),
    ("no content type", "POST", THINGS, b"{}", {"Content-Type": ""}, 415, "unsupported_media_type"),
    (
        "form",
        "POST",
        THINGS,
        b"{}",
        {"Content-Type": "application/x-www-form-urlencoded"},
        415,
        "unsupported_media_type",
    ),
    (
        "charset",
        "POST",
        THINGS,
        b"{}",
        {"Content-Type": "application/json; charset=latin-1"},
        415,
        "unsupported_media_type",
    ),
    ("compressed", "POST", THINGS, b"{}", {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
    ("length that lies", "POST", THINGS, b"{}", {"Content-Length": "3"}, 400, "validation_error"),
    ("length of words", "POST", THINGS, b"{}", {"Content-Length": "two"}, 400, "validation_error"),
    ("negative length", "POST", THINGS, b"{}", {"Content-Length": "-2"}, 400, "validation_error"),
    ("length of 5,000 digits", "POST", THINGS, b"{}", {"Content-Length": "9" * 5000}, 400, "validation_error"),
    ("body of a delete", "DELETE", "/api/v1/things/a", b'{"a": 1}', {}, 400, "validation_error"),
    ("empty idempotency key", "POST", THINGS, b'{"name": "a"}', {"Idempotency-Key": ""}, 400, "validation_error"),
    ("long idempotency key", "POST", THINGS, b'{"name": "a"}', {"Idempotency-Key": "x" * 256}, 400, "validation_error"),
    ("odd idempotency key", "POST", THINGS, b'{"name": "a"}', {"Idempotency-Key": "é"}, 400, "validation_error"),
    ("foreign host", "GET", "/healthz", None, {"Host": "evil.example"}, 421, "misdirected_request"),
    ("malformed host", "GET", "/healthz", None, {"Host": "a b"}, 400, "validation_error"),
    ("no host", "GET", "/healthz", None, {"Host": ""}, 400, "validation_error"),
    ("other scheme", "GET", THINGS, None, {"Authorization": "Basic YTpi"}, 401, "authentication_error"),
    ("empty key", "GET", THINGS, None, {"Authorization": "Bearer "}, 401, "authentication_error"),
    ("unknown key", "GET", THINGS, None, {"Authorization": "Bearer sk-unknown"}, 401, "authentication_error"),
    ("odd key", "GET", THINGS, None, {"Authorization": "Bearer \x80\xff"}, 401, "authentication_error"),
]


@pytest.mark.parametrize("case", REQUESTS, ids=[case[0] for case in REQUESTS])
def test_a_bad_request_is_refused(app: App, case: tuple[str, str, str, bytes | None, dict[str, str], int, str]) -> None:
    _, method, target, body, headers, status, kind = case
    got = app.call(method, target, body, headers=headers)
    assert (got.status, got.error["type"]) == (status, kind)
    assert app.does.calls == 0


def test_the_contract_s_message_for_a_missing_field(app: App) -> None:
    error = app.call("POST", TALK, {"messages": [{"role": "user", "content": "a"}]}).error
    assert error["message"] == "The 'model' field is required."
    assert error["details"] == {"field": "model", "constraint": "required"}
    assert error["param"] == "model"


def test_a_field_inside_a_list_is_named_by_its_dotted_path(app: App) -> None:
    error = app.call(
        "POST", TALK, {"model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "user"}]}
    ).error
    assert error["details"] == {"field": "messages.1.content", "constraint": "required"}
    error = app.call("POST", TALK, {"model": "m", "messages": [{"role": "king", "content": "a"}]}).error
    assert error["details"] == {"field": "messages.0.role", "constraint": "enum"}


def test_a_version_that_is_not_there_names_those_that_are(app: App) -> None:
    error = app.call("GET", "/api/v2/things").error
    assert "v1" in error["message"]
    assert error["details"] == {"versions": ["v1"]}


def test_a_wrong_method_names_the_right_ones(app: App) -> None:
    assert app.call("PUT", THINGS).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert app.call("PUT", "/api/v1/things/a").headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


def test_options_answers_the_methods_and_no_cors(app: App) -> None:
    got = app.call("OPTIONS", THINGS, key=None, headers={"Origin": "http://evil.example"})
    assert (got.status, got.body, got.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS, POST")
    assert not [name for name in got.headers if name.startswith("access-control")]
    assert app.call("OPTIONS", "/nothing", key=None).status == 404


def test_a_missing_key_says_how_to_send_one(app: App) -> None:
    got = app.call("GET", THINGS, key=None)
    assert got.status == 401
    assert got.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in got.error["message"]


def test_an_expired_key_and_a_key_without_the_scope(app: App, clock: FakeClock) -> None:
    narrow = app.new_key("keys:read")
    assert app.call("GET", THINGS, key=narrow).status == 200
    refused = app.call("POST", THINGS, GOOD, key=narrow)
    assert (refused.status, refused.error["type"]) == (403, "permission_denied")
    short = app.new_key(expires_at="2026-02-03T00:00:00Z")
    clock.set(1_770_076_800.0)
    expired = app.call("GET", THINGS, key=short)
    assert (expired.status, expired.error["code"]) == (401, "invalid_api_key")
    assert "error=" in expired.headers["www-authenticate"]


def test_unknown_fields_of_an_openai_route_are_named_and_ignored(app: App) -> None:
    talk = {
        "model": "m",
        "messages": [{"role": "user", "content": "a", "né": 1}, {"role": "user", "content": "b", "né": 2}],
        "colour": 1,
        "a,b": 2,
    }
    got = app.call("POST", TALK + "?api-version=1", talk)
    assert got.status == 200
    assert got.headers["x-secureai-ignored"] == "api-version, colour, a%2Cb, messages.n%C3%A9"
    many = app.call("POST", TALK, {**talk, **{f"{'x' * 50}{n}": n for n in range(100)}})
    assert len(many.headers["x-secureai-ignored"]) <= 512
    endless = app.call("POST", TALK, {**talk, "é" * 10_000: 1})
    assert "%C3%A9%C3%A9, messages" in endless.headers["x-secureai-ignored"]


def test_a_defect_shows_nothing_of_itself(app: App, caplog: pytest.LogCaptureFixture) -> None:
    for got in (app.call("GET", "/api/v1/defect"), app.call("POST", THINGS, {"name": "break"})):
        assert (got.status, got.error["type"]) == (500, "internal_error")
        assert not any(word in got.body for word in (b"secret", b"SELECT", b"sk-canary", b"Traceback"))
        assert got.headers["x-request-id"] in caplog.text
    with app.parts.store.read() as db:
        assert db.value("SELECT COUNT(*) FROM sign_in_links") == 0


def test_a_failure_that_can_not_be_rendered_is_a_defect_in_the_one_shape(app: App) -> None:
    from secureai_appliance.core.errors import Conflict

    app.does.defect = Conflict("no", details={"object": object()})
    assert app.call("GET", "/api/v1/defect").error["type"] == "internal_error"
    app.does.defect = Conflict("no", headers={"X-Odd": 5})  # type: ignore[dict-item]
    environ = app.environ("GET", "/api/v1/defect", None, {})
    seen: list[Any] = []

    def strict(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        if not all(isinstance(value, str) for _, value in headers):
            raise AssertionError("not a string")
        seen.append((status, exc_info is not None))

    assert json.loads(b"".join(app.gateway(environ, strict)))["error"]["type"] == "internal_error"
    assert seen == [("500 Internal Server Error", True)]


def test_a_chunked_body_over_the_bound_is_refused_without_reading_on(app: App) -> None:
    read: list[int] = []

    class Endless:
        def read(self, size: int) -> bytes:
            read.append(size)
            return b" " * size

    environ_input = {"wsgi.input": Endless()}
    got = app.call("POST", THINGS, None, headers={"Content-Type": "application/json"}, **environ_input)
    assert got.status == 413
    assert sum(read) <= 1024 * 1024 + 1
