"""Signing in over HTTP, in this thread."""

from __future__ import annotations

import threading

import pytest

from secureai_appliance.accounts import passwords, sessions, users
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.web import visitors
from tests.support.clock import FakeClock
from tests.support.pages import CHEAP, Visitor, shown, with_pages
from tests.support.web import App

ADA, PASSWORD = "ada@example.org", "correct horse battery"
WRONG = "wrong horse battery"


@pytest.fixture
def pages(cheap_passwords: None, app: App) -> App:
    encoded = passwords.hash_password(PASSWORD)
    with app.parts.store.transaction() as tx:
        users.create(tx, email=ADA, name="Ada", role="user", password_hash=encoded)
        users.create(tx, email="linked@example.org", name="Without", role="user")
        users.create(tx, email="off@example.org", name="Off", role="user", password_hash=encoded)
        tx.run("UPDATE users SET disabled = 1 WHERE email = 'off@example.org'")
    return with_pages(app)


def test_an_address_and_its_password_open_a_session_and_lead_back(pages: App) -> None:
    ada = Visitor(pages)
    form = ada.get("/sign-in?return_to=%2Fdocs%3Fa%3D1")
    assert 'value="/docs?a=1"' in shown(form)
    got = ada.sign_in("ADA@example.org ", PASSWORD, return_to="/docs?a=1")
    assert (got.status, got.headers["location"]) == (303, "/docs?a=1")
    assert ADA in shown(ada.get("/sign-in/none"))
    assert ada.get("/sign-in?return_to=/docs").headers["location"] == "/docs"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (ADA, WRONG),
        ("nobody@example.org", PASSWORD),
        ("linked@example.org", PASSWORD),
        ("off@example.org", PASSWORD),
        ("", ""),
    ],
    ids=["wrong password", "unknown", "without a password", "disabled", "empty"],
)
def test_every_refused_sign_in_has_the_same_body(pages: App, email: str, password: str) -> None:
    reference = Visitor(pages, address="192.0.2.9").sign_in(ADA, WRONG)
    got = Visitor(pages).sign_in(email, password)
    assert (got.status, got.cookies) == (403, [])
    expected = shown(reference).replace(f'value="{ADA}"', f'value="{email}"')
    if email:
        assert shown(got) == expected
    assert "The address or the password is wrong." in shown(got)
    assert {k: v for k, v in got.headers.items() if k not in {"x-request-id", "content-length"}} == {
        k: v for k, v in reference.headers.items() if k not in {"x-request-id", "content-length"}
    }


def test_every_refused_sign_in_does_the_same_work(pages: App, monkeypatch: pytest.MonkeyPatch) -> None:
    worked = []
    real = passwords.verify_password
    monkeypatch.setattr(passwords, "verify_password", lambda *given: worked.append(given[1]) or real(*given))
    for email in (ADA, "nobody@example.org", "linked@example.org", "off@example.org"):
        Visitor(pages, address=f"192.0.2.{len(worked)}").sign_in(email, WRONG)
    assert [encoded.rpartition("p=")[0] for encoded in worked] == [CHEAP] * 4


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/.//evil.example",
        " //evil.example",
        "docs",
        "",
        "/" + "x" * 3000,
        "/ü",
    ],
)
def test_nobody_is_led_to_another_site(pages: App, address: str) -> None:
    assert visitors.local_address(address) == "/"
    assert Visitor(pages).sign_in(ADA, PASSWORD, return_to=address).headers["location"] == "/"


def test_a_sign_in_takes_a_new_session_and_ends_the_one_before(pages: App) -> None:
    ada = Visitor(pages, cookies={sessions.COOKIE: "planted"})
    ada.sign_in(ADA, PASSWORD)
    first = ada.cookies[sessions.COOKIE]
    assert first != "planted"
    ada.sign_in(ADA, PASSWORD)
    assert ada.cookies[sessions.COOKIE] != first
    assert "Sign out" not in shown(Visitor(pages, cookies={sessions.COOKIE: first}).get("/sign-in/none"))


def test_signing_out_ends_the_session_not_only_the_cookie(pages: App) -> None:
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    kept = dict(ada.cookies)
    assert ada.post("/sign-out").headers["location"] == "/"
    assert sessions.COOKIE not in ada.cookies
    assert "Sign out" not in shown(Visitor(pages, cookies=kept).get("/sign-in/none"))


def test_the_sixth_wrong_try_has_to_wait_and_somebody_elsewhere_has_not(pages: App) -> None:
    stranger = Visitor(pages, address="198.51.100.1")
    answers = [stranger.sign_in(ADA, WRONG) for _ in range(6)]
    assert [got.status for got in answers] == [403] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "2"
    assert "Too many tries" in shown(answers[-1])
    assert Visitor(pages, address="192.0.2.1").sign_in(ADA, PASSWORD).status == 303


def test_the_addresses_of_one_ipv6_network_are_throttled_as_one(pages: App) -> None:
    statuses = [Visitor(pages, address=f"2001:db8::{n}").sign_in(ADA, WRONG).status for n in range(6)]
    assert statuses == [403] * 5 + [429]
    assert Visitor(pages, address="2001:db8:0:1::1").sign_in(ADA, PASSWORD).status == 303


def test_an_unknown_account_is_throttled_like_a_known_one(pages: App) -> None:
    stranger = Visitor(pages, address="198.51.100.1")
    assert [stranger.sign_in("nobody@example.org", WRONG).status for _ in range(6)] == [403] * 5 + [429]


def test_a_known_browser_signs_in_beside_an_attack_from_its_own_address(pages: App) -> None:
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    ada.post("/sign-out")
    stranger = Visitor(pages)
    assert [stranger.sign_in(ADA, WRONG).status for _ in range(6)][-1] == 429
    assert ada.sign_in(ADA, PASSWORD).status == 303


def test_the_mark_of_a_browser_is_good_for_its_own_account_only(pages: App) -> None:
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    mark = ada.cookies["secureai_device"]
    for cookies in ({"secureai_device": mark}, {"secureai_device": f"other.{mark.partition('.')[2]}"}):
        stranger = Visitor(pages, address="198.51.100.1", cookies=cookies)
        statuses = [stranger.sign_in("nobody@example.org", WRONG).status for _ in range(6)]
        pages.parts.sign_ins.throttle._counts.clear()
        assert statuses[-1] == 429


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None, "http://127.0.0.1:9999"])
def test_another_sites_form_does_nothing(pages: App, origin: str | None) -> None:
    with pages.parts.store.transaction() as tx:
        token = sessions.create_link(tx, users.by_email(tx, ADA).id)
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    for path in ("/sign-in", f"/sign-in/{token}", "/sign-out"):
        got = ada.post(path, origin=origin)
        assert got.status == 403
        assert "A page of another site" in shown(got)
        assert got.cookies == []
    assert ADA in shown(ada.get("/sign-in/none"))


def test_without_a_host_nothing_is_our_own_origin(pages: App) -> None:
    got = pages.call("POST", "/sign-out", key=None, HTTP_HOST="", SERVER_PROTOCOL="HTTP/1.0")
    assert got.status == 403


def test_cookies_are_locked_to_the_host_where_there_is_tls(pages: App) -> None:
    plain, tls = Visitor(pages), Visitor(pages, scheme="https")
    lines = plain.sign_in(ADA, PASSWORD).cookies + tls.sign_in(ADA, PASSWORD).cookies
    for line in lines:
        assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(line.split("; "))
        assert "Domain" not in line
    assert [line.startswith("__Host-") and line.endswith("; Secure") for line in lines] == [False, False, True, True]
    assert ADA in shown(tls.get("/sign-in/none"))
    # what a neighbour could have planted without TLS is not read
    bare = {name.removeprefix("__Host-"): value for name, value in tls.cookies.items()}
    assert "Sign out" not in shown(Visitor(pages, scheme="https", cookies=bare).get("/sign-in/none"))


def test_a_link_signs_in_once_and_is_not_used_up_by_looking_at_it(pages: App) -> None:
    with pages.parts.store.transaction() as tx:
        token = sessions.create_link(tx, users.by_email(tx, "linked@example.org").id)
    visitor = Visitor(pages)
    assert visitor.get(f"/sign-in/{token}").status == visitor.get(f"/sign-in/{token}").status == 200
    assert visitor.post(f"/sign-in/{token}").status == 303
    assert "linked@example.org" in shown(visitor.get("/sign-in/none"))
    assert Visitor(pages).post(f"/sign-in/{token}").status == 404


def test_whoever_has_no_link_and_no_session_makes_nobody_wait_for_the_disk(
    pages: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_transaction() -> None:
        raise AssertionError("something was written")

    monkeypatch.setattr(pages.parts.store, "transaction", no_transaction)
    visitor = Visitor(pages, cookies={sessions.COOKIE: "made up"})
    assert visitor.post("/sign-in/made-up").status == 404
    assert visitor.post("/sign-out").status == 303
    assert visitor.sign_in(ADA, WRONG).status == 403


def test_a_page_that_needs_a_sign_in_leads_there_and_back(app: App) -> None:
    got = app.call("GET", "/page?a=%C3%BC", key=None)
    assert got.status == 303
    assert got.headers["location"] == "/sign-in?return_to=%2Fpage%3Fa%3D%25C3%25BC"
    assert (
        app.call("POST", "/page", {}, key=None, headers={"Origin": "http://127.0.0.1:8080"}).headers["location"]
        == "/sign-in"
    )


def test_a_key_opens_no_page_and_a_session_no_api(pages: App, app: App) -> None:
    assert "Sign out" not in shown(pages.call("GET", "/sign-in/none"))
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    assert ada.get("/api/v1/keys").status == 401


def test_an_idle_session_is_asked_to_sign_in_again(pages: App, clock: FakeClock) -> None:
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    for _ in range(3):
        clock.advance(sessions.Lifetimes().idle - 60)
        assert ADA in shown(ada.get("/sign-in/none"))
    clock.advance(sessions.Lifetimes().idle)
    assert "Sign out" not in shown(ada.get("/sign-in/none"))


def test_how_long_a_session_lasts_is_a_setting_that_counts_at_once(pages: App, clock: FakeClock) -> None:
    def put(key: str, value: int) -> None:
        with pages.parts.store.transaction() as tx:
            pages.parts.configs.put(tx, SYSTEM, key, value)

    put("sessions.idle_minutes", 180)
    put("sessions.hours", 24)
    ada = Visitor(pages)
    ada.sign_in(ADA, PASSWORD)
    for _ in range(6):
        clock.advance(180 * 60 - 60)
        assert ADA in shown(ada.get("/sign-in/none"))
    put("sessions.hours", 17)
    assert "Sign out" not in shown(ada.get("/sign-in/none"))
    put("sessions.hours", 24)
    assert ADA in shown(ada.get("/sign-in/none"))
    clock.advance(60)
    put("sessions.idle_minutes", 2)
    assert ADA in shown(ada.get("/sign-in/none"))
    clock.advance(180)
    assert "Sign out" not in shown(ada.get("/sign-in/none"))


def test_what_goes_wrong_on_a_page_is_a_page_for_people_and_json_for_programs(pages: App) -> None:
    got = Visitor(pages).get("/nothing")
    assert got.status == 404
    assert got.headers["x-request-id"] in shown(got)
    assert pages.call("GET", "/nothing", key=None).error["type"] == "not_found"
    assert Visitor(pages).get("/api/v1/nothing").error["type"] == "not_found"


def test_two_sign_ins_with_one_link_open_one_session(pages: App) -> None:
    with pages.parts.store.transaction() as tx:
        token = sessions.create_link(tx, users.by_email(tx, ADA).id)
    together, statuses = threading.Barrier(8), []

    def redeem() -> None:
        together.wait()
        statuses.append(Visitor(pages).post(f"/sign-in/{token}").status)

    threads = [threading.Thread(target=redeem) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [303] + [404] * 7


def test_failed_sign_ins_and_clients_count_for_their_address_and_stop_nobody_who_is_right(pages: App) -> None:
    with pages.parts.store.transaction() as tx:
        pages.parts.configs.put(tx, SYSTEM, "limits.failed_authentications_per_minute", 3)
    stranger = Visitor(pages, address="198.51.100.7")
    tries = [
        lambda: stranger.sign_in("nobody@example.org", WRONG),
        lambda: stranger.get("/sign-in/none"),
        lambda: stranger.post("/oauth/token", grant_type="client_credentials", client_id="oac-none", client_secret="x"),
    ]
    assert [attempt().status for attempt in tries] == [403, 404, 400]
    refused = [attempt() for attempt in tries]
    assert [got.status for got in refused] == [429] * 3
    assert all(int(got.headers["retry-after"]) > 0 for got in refused)
    assert stranger.sign_in(ADA, PASSWORD).status == 303
    assert Visitor(pages, address="198.51.100.8").sign_in(ADA, WRONG).status == 403
