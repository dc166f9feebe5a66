"""Maintenance mode over real sockets: everybody but administrators is asked to come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.audit import newest, rows
from tests.support.oauth import FORM, session_of
from tests.support.running import Running

PATH = "/api/v1/maintenance"


@pytest.fixture(autouse=True)
def ended(api: Running) -> Iterator[None]:
    yield
    api.ask("PUT", PATH, {"enabled": False})


def start(api: Running, **fields: object) -> None:
    answer = api.ask("PUT", PATH, {"enabled": True, **fields})
    assert answer.status == 200, answer.body


def test_others_are_told_to_come_back_and_administrators_work_on(api: Running) -> None:
    key = api.make_user("waits@example.test")
    assert api.ask("GET", "/api/v1/me", key=key).status == 200
    start(api, message="New disks.", retry_after=120)
    for method, path in (("GET", "/api/v1/me"), ("POST", "/api/v1/keys"), ("GET", "/api/v1/configs")):
        answer = api.ask(method, path, key=key)
        assert (answer.status, answer.headers["retry-after"]) == (503, "120")
        error = answer.json["error"]
        assert (error["type"], error["message"]) == ("service_unavailable", "New disks.")
        assert error["details"] == {"constraint": "maintenance"}
        assert "x-ratelimit-limit" in answer.headers
    assert api.ask("GET", "/api/v1/me").status == 200
    api.ask("PUT", PATH, {"enabled": False})
    assert api.ask("GET", "/api/v1/me", key=key).status == 200


def test_a_refused_request_spends_nothing(api: Running) -> None:
    key = api.make_user("spends@example.test")

    def used() -> int:
        windows = api.ask("GET", "/api/v1/me/limits", key=key).json["windows"]
        return next(int(one["used"]) for one in windows if one["name"] == "requests-day")

    before = used()
    start(api)
    for _ in range(3):
        assert api.ask("GET", "/api/v1/me", key=key).status == 503
    api.ask("PUT", PATH, {"enabled": False})
    assert used() == before + 1


def test_health_says_so(api: Running) -> None:
    start(api, retry_after=77)
    ready = api.ask("GET", "/readyz", key=None)
    assert (ready.status, ready.headers["retry-after"]) == (503, "77")
    assert ready.json["error"]["details"]["checks"][0]["name"] == "maintenance"
    assert api.ask("GET", "/healthz", key=None).status == 200
    assert api.ask("GET", "/metrics").status == 200


def test_tokens_are_given_to_nobody_meanwhile(api: Running) -> None:
    start(api)
    answer = api.ask("POST", "/oauth/token", b"grant_type=password", key=None, headers={"Content-Type": FORM})
    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")


def test_pages_answer_with_a_page_and_let_administrators_in(api: Running) -> None:
    api.make_user("looks@example.test")
    theirs, ours = session_of(api, "looks@example.test"), session_of(api, "admin@localhost")
    start(api, message="Back at <noon>.")
    browser = {"Accept": "text/html"}
    page = api.ask("GET", "/account", key=None, headers={**theirs, **browser})
    assert (page.status, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert b"Back at &lt;noon&gt;." in page.body
    assert api.ask("GET", "/account", key=None, headers={**ours, **browser}).status == 200
    assert api.ask("GET", "/sign-in", key=None, headers=browser).status == 200


def test_an_administrator_switches_it_on_the_page(api: Running) -> None:
    ours = session_of(api, "admin@localhost")
    body = b"enabled=true&message=Soon&retry_after=60"
    switched = api.ask("POST", "/maintenance", body, key=None, headers={"Content-Type": FORM, **ours})
    assert (switched.status, switched.headers["location"]) == (303, "/maintenance?done=on")
    assert api.ask("GET", PATH).json == {"enabled": True, "message": "Soon", "retry_after": 60}
    shown = api.ask("GET", "/maintenance", key=None, headers=ours)
    assert b"Maintenance mode is <strong>on</strong>" in shown.body
    bad = api.ask(
        "POST", "/maintenance", b"enabled=true&retry_after=0", key=None, headers={"Content-Type": FORM, **ours}
    )
    assert bad.status == 400
    api.make_user("switches@example.test")
    theirs = session_of(api, "switches@example.test")
    api.ask("PUT", PATH, {"enabled": False})
    refused = api.ask("POST", "/maintenance", body, key=None, headers={"Content-Type": FORM, **theirs})
    assert refused.status == 403


def test_begin_and_end_are_audited(api: Running) -> None:
    before = newest(api.appliance.store)
    start(api)
    api.ask("PUT", PATH, {"enabled": False})
    with api.appliance.store.read() as db:
        found = [row.action for row in rows(db, before) if row.target.id == "maintenance"]
    assert found == ["maintenance.started", "maintenance.ended"]


def test_what_an_administrator_writes_to_others_is_not_in_the_audit_log(api: Running) -> None:
    before = newest(api.appliance.store)
    start(api, message="Ask Ada, 555-0100.")
    with api.appliance.store.read() as db:
        found = [row for row in rows(db, before) if row.target.id == "maintenance.message"]
        assert [row.details for row in found] == [{}]
        assert "555-0100" not in str(rows(db, before))


def test_a_stale_if_match_switches_nothing(api: Running) -> None:
    tag = api.ask("GET", PATH).headers["etag"]
    start(api)
    assert api.ask("PUT", PATH, {"enabled": False}, headers={"If-Match": tag}).status == 412
    assert api.ask("GET", PATH).json["enabled"] is True
