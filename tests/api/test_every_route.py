"""What holds for each row of the route table, walked over real sockets."""

from __future__ import annotations

import re

import msgspec
import pytest

from secureai_appliance.core.errors import every_failure
from secureai_appliance.web.route import Access, Route
from secureai_appliance.web.routes import route_table
from tests.support.access import is_declared
from tests.support.running import Response, Running
from tests.support.schemas import validate

ROUTES = route_table()
GUARDED = [route for route in ROUTES if route.access is not Access.PUBLIC and not route.page]
PAGES = [route for route in ROUTES if route.access is not Access.PUBLIC and route.page]
TYPES = {kind.type: kind.status for kind in every_failure()}


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def path(route: Route) -> str:
    return re.sub(r"\{\w+\}", "none", route.path)


def check_error(answer: Response, status: int) -> None:
    """The one shape, a documented type, a request id, nothing from inside."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    validate(answer.json, "ErrorResponse")
    assert TYPES[error["type"]] == status
    assert error["request_id"] == answer.headers["x-request-id"]
    assert set(error) <= {"type", "message", "details", "code", "param", "request_id", "retry_after"}
    for inside in ("Traceback", "SELECT ", ".py", "/home", "/tmp", "sk-"):
        assert inside not in answer.body.decode()


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_every_answer_has_a_request_id_and_security_headers(api: Running, route: Route) -> None:
    answer = api.ask(route.method, path(route), b"{}" if route.body else None)
    assert re.fullmatch(r"req-\w+", answer.headers["x-request-id"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.status < 500


@pytest.mark.parametrize("route", GUARDED, ids=name)
@pytest.mark.parametrize("key", [None, "sk-unknown", "x" * 5000], ids=["none", "unknown", "huge"])
def test_nobody_gets_in_without_a_valid_key(api: Running, route: Route, key: str | None) -> None:
    answer = api.ask(route.method, path(route), key=key)
    check_error(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", [route for route in GUARDED if isinstance(route.access, str)], ids=name)
def test_a_key_without_the_routes_permission_is_refused_by_name(api: Running, route: Route) -> None:
    scope = "keys:read" if route.access != "keys:read" else "models:read"
    narrow = api.ask("POST", "/api/v1/keys", {"name": "narrow", "scopes": [scope]}).json["key"]
    answer = api.ask(route.method, path(route), key=narrow)
    check_error(answer, 403)
    assert answer.json["error"]["details"] == {"permission": route.access}


def test_every_path_with_an_id_says_whose_things_it_leads_to() -> None:
    assert [name(route) for route in ROUTES if not is_declared(route)] == []


@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_a_method_that_a_path_does_not_have_is_405_and_names_those_it_has(api: Running, route: Route) -> None:
    answer = api.ask("TRACE", path(route))
    check_error(answer, 405)
    assert route.method in answer.headers["allow"]


def test_an_unknown_path_is_404(api: Running) -> None:
    check_error(api.ask("GET", "/api/v1/nothing"), 404)
    versions = api.ask("GET", "/api/v2/models")
    check_error(versions, 404)
    assert "v1" in versions.json["error"]["message"]


@pytest.mark.parametrize(
    ("credential", "says"),
    [("expired", "expired on"), ("revoked", "was revoked"), ("Basic abc", "Bearer")],
)
def test_what_is_wrong_with_a_key_is_said(api: Running, credential: str, says: str) -> None:
    if credential == "expired":
        made = api.ask("POST", "/api/v1/keys", {"name": "k", "expires_at": "2999-01-01"}).json
        with api.appliance.store.transaction() as tx:
            tx.run("UPDATE api_keys SET expires_at = 1 WHERE id = ?", made["id"])
        answer = api.ask("GET", "/api/v1/me", key=made["key"])
    elif credential == "revoked":
        made = api.ask("POST", "/api/v1/keys", {"name": "k"}).json
        api.ask("DELETE", f"/api/v1/keys/{made['id']}")
        answer = api.ask("GET", "/api/v1/me", key=made["key"])
    else:
        answer = api.ask("GET", "/api/v1/me", key=None, headers={"Authorization": credential})
    check_error(answer, 401)
    assert says in answer.json["error"]["message"]


BODIES: dict[str, tuple[bytes, int, str]] = {
    "no body": (b"", 400, "invalid_json"),
    "not JSON": (b"{", 400, "invalid_json"),
    "NaN": (b'{"model": "gpt-4", "temperature": NaN}', 400, "invalid_json"),
    "duplicate keys": (b'{"model": "a", "model": "b"}', 400, "invalid_json"),
    "deep nesting": (b'{"a":' * 100 + b"1" + b"}" * 100, 400, "invalid_json"),
    "deep nesting of lists": (b"[" * 100_000, 400, "invalid_json"),
    "wrong encoding": ('{"model": "é"}'.encode("latin-1"), 400, "invalid_json"),
    "a list": (b"[]", 400, "validation_error"),
    "wrong types": (b'{"model": 5, "name": 5, "input": 5}', 400, "validation_error"),
    "nothing in it": (b"{}", 400, "validation_error"),
}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body and route.method == "POST"], ids=name)
@pytest.mark.parametrize("bad", BODIES, ids=str)
def test_a_bad_body_is_refused_with_its_documented_type(api: Running, route: Route, bad: str) -> None:
    body, status, kind = BODIES[bad]
    if bad == "nothing in it" and not any(field.required for field in msgspec.structs.fields(route.body)):
        pytest.skip("nothing of it is required")
    answer = api.ask(route.method, path(route), body)
    check_error(answer, status)
    assert answer.json["error"]["type"] == kind


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=name)
def test_a_body_over_its_bound_is_413(api: Running, route: Route) -> None:
    check_error(api.ask(route.method, path(route), b'{"name": "' + b"x" * (route.max_body + 1) + b'"}'), 413)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=name)
def test_a_body_that_says_it_is_something_else_is_415(api: Running, route: Route) -> None:
    answer = api.ask(route.method, path(route), b"{}", headers={"Content-Type": "text/plain"})
    check_error(answer, 415)
