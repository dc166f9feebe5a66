"""ETags, conditions, headers of every answer."""

from __future__ import annotations

import logging

import pytest

from secureai_appliance.web.parts import Check
from tests.support.web import App

THING = "/api/v1/things/t"


def test_the_same_bytes_have_the_same_etag_and_others_another(app: App) -> None:
    app.does.names["t"] = "a"
    first, again = app.call("GET", THING), app.call("GET", THING)
    assert first.headers["etag"] == again.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    app.does.names["t"] = "b"
    assert app.call("GET", THING).headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*", ' {} , "x"'])
def test_if_none_match_gives_an_empty_304(app: App, form: str) -> None:
    app.does.names["t"] = "a"
    tag = app.call("GET", THING).headers["etag"]
    got = app.call("GET", THING, headers={"If-None-Match": form.format(tag)})
    assert (got.status, got.body, got.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in got.headers
    assert "content-length" not in got.headers
    assert app.call("HEAD", THING, headers={"If-None-Match": form.format(tag)}).status == 304


def test_if_none_match_with_another_tag_gives_the_body(app: App) -> None:
    app.does.names["t"] = "a"
    assert app.call("GET", THING, headers={"If-None-Match": '"other"'}).status == 200


def test_a_missing_resource_stays_404_under_if_none_match(app: App) -> None:
    assert app.call("GET", THING, headers={"If-None-Match": "*"}).status == 404


def test_a_stale_if_match_changes_nothing(app: App) -> None:
    app.does.names["t"] = "a"
    tag = app.call("GET", THING).headers["etag"]
    assert app.call("PATCH", THING, {"name": "b"}, headers={"If-Match": tag}).status == 200
    for method, body in (("PATCH", {"name": "c"}), ("DELETE", None)):
        for stale in (tag, f"W/{tag}", '"x"'):
            got = app.call(method, THING, body, headers={"If-Match": stale})
            assert (got.status, got.error["type"]) == (412, "precondition_failed")
    assert app.does.names["t"] == "b"
    assert app.call("PATCH", THING, {"name": "c"}, headers={"If-Match": "*"}).status == 200
    fresh = app.call("GET", THING).headers["etag"]
    got = app.call("DELETE", THING, headers={"If-Match": f'"x", {fresh}'})
    assert (got.status, got.body) == (204, b"")


def test_a_change_of_what_is_missing_is_404_whatever_is_sent(app: App) -> None:
    assert app.call("DELETE", THING, headers={"If-Match": '"x"'}).status == 404


def test_head_is_get_without_the_body(app: App) -> None:
    app.does.names["t"] = "a"
    get, head = app.call("GET", THING), app.call("HEAD", THING)
    assert head.body == b""
    for name in ("content-length", "content-type", "etag"):
        assert head.headers[name] == get.headers[name]
    missing = app.call("HEAD", "/nothing")
    assert (missing.status, missing.body) == (404, b"")


def test_answers_are_not_stored_and_not_framed(app: App) -> None:
    for got in (
        app.call("POST", "/api/v1/things", {"name": "a"}),
        app.call("GET", "/nothing"),
        app.call("GET", "/healthz"),
    ):
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert got.headers["referrer-policy"] == "same-origin"


def test_every_request_has_an_id_of_ours(app: App) -> None:
    ids = {app.call("GET", "/healthz", headers={"X-Request-Id": "mine"}).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert "mine" not in ids


def test_headers_of_every_answer_can_be_added_in_one_place(app: App) -> None:
    app.gateway.header_sources.append(lambda exchange: {"X-Limit": exchange.client})
    for got in (app.call("GET", "/healthz"), app.call("GET", "/nothing"), app.call("GET", "/api/v1/defect")):
        assert got.headers["x-limit"] == "127.0.0.1"


def test_a_header_source_that_breaks_is_a_defect_in_the_one_shape(app: App) -> None:
    app.gateway.header_sources.append(lambda _: {}["missing"])  # type: ignore[arg-type, return-value]
    environ = app.environ("GET", "/healthz", None, {})
    seen: list[str] = []
    body = b"".join(app.gateway(environ, lambda status, headers, exc_info=None: seen.append(status)))
    assert seen == ["500 Internal Server Error"]
    assert b"internal_error" in body


def test_the_access_log_names_template_and_user_and_no_secret(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    app.call(
        "GET", "/api/v1/things/sk-canary1?q=sk-canary2", headers={"Cookie": "sk-canary3", "User-Agent": "sk-canary4"}
    )
    app.call("GET", "/sk-canary5")
    app.call("GET", "/healthz", key="sk-canary6")
    lines = [record.getMessage() for record in caplog.records if record.name == "secureai_appliance.access"]
    assert len(lines) == 3
    assert "GET /api/v1/things/{id} 400" in lines[0]
    assert app.user_id in lines[0]
    assert "canary" not in caplog.text
    assert app.key not in caplog.text


def test_readiness_names_what_failed(app: App) -> None:
    assert app.call("GET", "/readyz", key=None).json == {"status": "ready"}
    app.does.checks += [Check("store", ok=True), Check("folders", ok=True, message="One is away.")]
    assert app.call("GET", "/readyz", key=None).json == {"status": "ready", "notes": ["One is away."]}
    app.does.checks += [Check("disk", ok=False, message="It is full.")]
    got = app.call("GET", "/readyz", key=None)
    assert got.status == 503
    assert got.error["details"]["checks"] == [{"name": "disk", "message": "It is full."}]
    assert app.call("GET", "/healthz", key=None).json == {"status": "ok"}


def test_a_page_asks_for_a_session_and_the_api_never_takes_one(app: App) -> None:
    from secureai_appliance.accounts import sessions

    with app.parts.store.transaction() as tx:
        secret = sessions.open_(tx, app.user_id, "link", sessions.Browser("127.0.0.1", "test"))
    cookie = {"Cookie": f"x=1; {sessions.COOKIE}={secret}"}
    page = app.call("GET", "/page", key=None, headers=cookie)
    assert page.status == 200
    assert "style-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert app.call("GET", "/page", key=None, headers={"Cookie": f"{sessions.COOKIE}=other"}).status == 303
    assert app.call("GET", "/api/v1/things", key=None, headers=cookie).status == 401


def test_a_page_of_another_site_can_not_post_with_the_cookie(app: App) -> None:
    from secureai_appliance.accounts import sessions

    with app.parts.store.transaction() as tx:
        secret = sessions.open_(tx, app.user_id, "link", sessions.Browser("127.0.0.1", "test"))
    cookie = {"Cookie": f"{sessions.COOKIE}={secret}"}
    for origin in ("http://evil.example", "null", ""):
        got = app.call("POST", "/page", {"name": "a"}, key=None, headers={**cookie, "Origin": origin})
        assert got.status == 403
    own = {**cookie, "Origin": "http://127.0.0.1:8080"}
    assert app.call("POST", "/page", {"name": "a"}, key=None, headers=own).status == 201


def test_the_use_of_a_key_is_written_once_an_hour(app: App) -> None:
    app.call("GET", "/api/v1/things")
    with app.parts.store.read() as db:
        first = db.value("SELECT MAX(last_used_at) FROM api_keys")
    assert first == int(app.parts.clock.now()) // 3600 * 3600
    app.parts.clock.advance(3600)  # type: ignore[attr-defined]
    app.call("GET", "/api/v1/things")
    with app.parts.store.read() as db:
        assert db.value("SELECT MAX(last_used_at) FROM api_keys") == first + 3600
