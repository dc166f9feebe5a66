"""Devices without a browser (RFC 8628), from their two codes to tokens."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from secureai_appliance.governance.audit import SYSTEM
from tests.support.oauth import DEVICE_CODE, FORM, SCOPES, OAuthClient, register, session_of
from tests.support.running import Response, Running


@pytest.fixture(scope="module")
def browser(api: Running) -> dict[str, str]:
    api.make_user("device@example.test")
    return session_of(api, "device@example.test")


@pytest.fixture(scope="module")
def client(api: Running) -> OAuthClient:
    return register(api, name="Wall display", public=True, grant_types=[DEVICE_CODE, "refresh_token"], redirect_uris=[])


def begin(client: OAuthClient, **fields: str) -> dict[str, str]:
    answer = client.post("/oauth/device_authorization", fields)
    assert answer.status == 200, answer.body
    found: dict[str, str] = answer.json
    return found


def poll(client: OAuthClient, device_code: str) -> Response:
    return client.post("/oauth/token", {"grant_type": DEVICE_CODE, "device_code": device_code})


def patiently(api: Running, client: OAuthClient, device_code: str) -> Response:
    """As if the device had waited as long as it was told."""
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE oauth_devices SET asked_at = asked_at - 3600")
    return poll(client, device_code)


def decide(api: Running, browser: dict[str, str], user_code: str, decision: str = "allow") -> Response:
    body = urlencode({"user_code": user_code, "decision": decision}).encode()
    return api.ask("POST", "/oauth/device", body, key=None, headers={"Content-Type": FORM, **browser})


def test_a_device_gets_tokens_once_its_user_has_allowed_it(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    begun = begin(client, scope="models:read")
    assert begun["verification_uri"] == f"{api.appliance.address}/oauth/device"
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert poll(client, begun["device_code"]).json["error"] == "authorization_pending"

    link = begun["verification_uri_complete"].removeprefix(api.appliance.address)
    shown = api.ask("GET", link, key=None, headers=browser).body.decode()
    assert "Wall display" in shown
    assert "List models and see their state" in shown
    assert begun["user_code"] in shown
    assert decide(api, browser, begun["user_code"].lower().replace("-", " ")).status == 200

    made = patiently(api, client, begun["device_code"])
    assert (made.status, made.json["scope"]) == (200, "models:read")
    assert api.ask("GET", "/api/v1/me", key=made.json["access_token"]).json["email"] == "device@example.test"
    assert client.refresh(made.json["refresh_token"]).status == 200
    assert poll(client, begun["device_code"]).status == 400


def test_a_device_that_asks_too_often_has_to_slow_down(api: Running, client: OAuthClient) -> None:
    begun = begin(client)
    answers = [poll(client, begun["device_code"]).json["error"] for _ in range(3)]
    assert answers == ["authorization_pending", "slow_down", "slow_down"]
    with api.appliance.store.read() as db:
        waits = [row[0] for row in db.all("SELECT wait FROM oauth_devices ORDER BY wait")]
    assert waits[-1] == 15
    assert patiently(api, client, begun["device_code"]).json["error"] == "authorization_pending"


def test_a_refused_device_is_told_so(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    begun = begin(client)
    assert b"was refused" in decide(api, browser, begun["user_code"], "deny").body
    assert poll(client, begun["device_code"]).json["error"] == "access_denied"


def test_a_code_is_decided_once_and_only_while_it_lasts(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    begun = begin(client)
    decide(api, browser, begun["user_code"], "deny")
    assert decide(api, browser, begun["user_code"]).status == 404
    late = begin(client)
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE oauth_devices SET expires_at = 1")
    assert decide(api, browser, late["user_code"]).status == 404
    assert poll(client, late["device_code"]).json["error"] == "expired_token"
    api.make_user("device-wrong@example.test")
    mistaken = session_of(api, "device-wrong@example.test")
    for wrong in ("", "XXXX-XXXX", "é", "%"):
        assert decide(api, mistaken, wrong).status == 404


def test_another_sites_page_and_a_visitor_who_is_not_signed_in_can_not_allow_a_device(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    begun = begin(client)
    assert decide(api, {**browser, "Origin": "https://evil.example"}, begun["user_code"]).status == 403
    decide(api, {"Origin": api.appliance.address}, begun["user_code"])
    assert poll(client, begun["device_code"]).json["error"] == "authorization_pending"


def test_a_disabled_user_has_allowed_nothing(api: Running, client: OAuthClient) -> None:
    api.make_user("device-gone@example.test")
    begun = begin(client)
    decide(api, session_of(api, "device-gone@example.test"), begun["user_code"])
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1 WHERE email = 'device-gone@example.test'")
    assert poll(client, begun["device_code"]).json["error"] == "access_denied"


def test_only_a_client_that_was_registered_for_it_begins_and_only_its_own_codes_work(
    api: Running, client: OAuthClient
) -> None:
    other = register(api)
    assert other.post("/oauth/device_authorization", {}).json["error"] == "unauthorized_client"
    assert client.post("/oauth/device_authorization", {"scope": "keys:write"}).json["error"] == "invalid_scope"
    begun = begin(client)
    again = register(api, public=True, grant_types=[DEVICE_CODE], redirect_uris=[], scopes=SCOPES)
    assert poll(again, begun["device_code"]).status == 400
    assert poll(client, "sdc-none").status == 400


def test_one_address_begins_no_more_devices_in_a_minute_than_it_may_ask_without_a_credential(
    api: Running, client: OAuthClient
) -> None:
    def bound(most: int) -> None:
        with api.appliance.store.transaction() as tx:
            api.appliance.configs.put(tx, SYSTEM, "limits.failed_authentications_per_minute", most)

    def waiting() -> int:
        with api.appliance.store.read() as db:
            return int(db.value("SELECT COUNT(*) FROM oauth_devices"))

    private = register(api, grant_types=[DEVICE_CODE], redirect_uris=[])
    bound(2)
    try:
        before = waiting()
        answers = [client.post("/oauth/device_authorization", {}) for _ in range(7)]
        passed = [answer for answer in answers if answer.status == 200]
        # two in each minute: one may end in between
        assert len(passed) <= 4
        assert waiting() == before + len(passed)
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert private.post("/oauth/device_authorization", {}).status == 200
    finally:
        bound(1_000_000)


def test_trying_codes_of_devices_is_throttled(api: Running, client: OAuthClient) -> None:
    api.make_user("device-guesser@example.test")
    guesser = session_of(api, "device-guesser@example.test")
    answers = [decide(api, guesser, f"WRNG-{n}") for n in range(6)]
    assert [answer.status for answer in answers] == [404] * 5 + [429]
    looked = api.ask("GET", "/oauth/device?user_code=WRNG-0", key=None, headers=guesser)
    assert (looked.status, "retry-after" in looked.headers) == (429, True)
    api.make_user("device-other@example.test")
    other = session_of(api, "device-other@example.test")
    assert decide(api, other, begin(client)["user_code"]).status == 200
