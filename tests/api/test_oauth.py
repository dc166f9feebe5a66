"""The OAuth server over HTTP: from consent to tokens, and to their end (P22, P24)."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest

from tests.support.oauth import (
    CALLBACK,
    SCOPES,
    VERIFIER,
    OAuthClient,
    audited,
    refused,
    register,
    sent_back,
    session_of,
    works,
)
from tests.support.running import Running

_numbers = itertools.count()


@pytest.fixture(scope="module")
def email(api: Running) -> str:
    api.make_user("oauth@example.test")
    return "oauth@example.test"


@pytest.fixture(scope="module")
def browser(api: Running, email: str) -> dict[str, str]:
    return session_of(api, email)


@pytest.fixture(scope="module")
def client(api: Running) -> OAuthClient:
    return register(api)


@pytest.fixture(scope="module")
def public(api: Running) -> OAuthClient:
    return register(api, public=True)


# the code, from consent to tokens


def test_a_code_becomes_tokens_that_call_the_api_and_no_more_than_was_allowed(
    api: Running, client: OAuthClient, browser: dict[str, str], email: str
) -> None:
    back = sent_back(client.consent(browser))
    assert back["from"] == "here"
    assert back["state"] == 'a"b\\c d'
    assert back["iss"] == api.appliance.address
    answer = client.redeem(back["code"])
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    made = answer.json
    assert made["token_type"] == "Bearer"
    assert made["expires_in"] == 900
    assert made["scope"].split() == SCOPES
    me = api.ask("GET", "/api/v1/me", key=made["access_token"]).json
    assert (me["email"], me["permissions"], me["key_id"]) == (email, SCOPES, None)
    assert api.ask("GET", "/api/v1/models", key=made["access_token"]).status == 200
    assert api.ask("GET", "/api/v1/keys", key=made["access_token"]).status == 403


def test_a_refresh_token_is_no_access_token(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    made = client.tokens(browser)
    assert not works(api, made["refresh_token"])
    refused(client.refresh(made["access_token"]), "invalid_grant")


def test_tokens_and_codes_are_stored_only_as_hashes(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    code = client.code(browser)
    made = client.redeem(code).json
    with api.appliance.store.read() as db:
        kept = [
            row for table in ("clients", "grants", "codes", "tokens") for row in db.all(f"SELECT * FROM oauth_{table}")
        ]
    for secret in (code, made["access_token"], made["refresh_token"], client.secret):
        assert secret
        assert secret not in str(kept)
        assert secret[4:].encode() not in b"".join(value for row in kept for value in row if isinstance(value, bytes))


def test_no_token_reaches_the_log(
    client: OAuthClient, browser: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = client.tokens(browser)
    assert made["access_token"] not in caplog.text
    assert made["refresh_token"] not in caplog.text


def test_denying_tells_the_client_and_gives_nothing(client: OAuthClient, browser: dict[str, str]) -> None:
    back = sent_back(client.consent(browser, decision="deny"))
    assert (back["error"], back["state"]) == ("access_denied", 'a"b\\c d')
    assert "code" not in back


def test_a_user_passes_on_no_right_that_they_lack(api: Running, browser: dict[str, str]) -> None:
    client = register(api, scopes=["models:read", "models:write"])
    assert client.tokens(browser, scope="models:read models:write")["scope"] == "models:read"
    assert sent_back(client.consent(browser, scope="models:write"))["error"] == "invalid_scope"


def test_without_scope_a_client_asks_for_all_of_its_own(client: OAuthClient, browser: dict[str, str]) -> None:
    assert client.tokens(browser, scope=None)["scope"].split() == SCOPES


def test_a_scope_that_is_not_the_clients_is_refused(client: OAuthClient, browser: dict[str, str]) -> None:
    assert sent_back(client.consent(browser, scope="keys:write"))["error"] == "invalid_scope"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_another_sites_page_can_not_consent(client: OAuthClient, browser: dict[str, str], origin: str | None) -> None:
    headers = {"Cookie": browser["Cookie"]} | ({} if origin is None else {"Origin": origin})
    assert client.consent(headers).status == 403


def test_without_a_session_nothing_is_asked_and_nothing_given(api: Running, client: OAuthClient) -> None:
    for answer in (
        api.ask("GET", client.authorize_url(), key=None),
        client.consent({"Origin": api.appliance.address}),
    ):
        assert "location" not in answer.headers or answer.headers["location"].startswith("/")
        assert answer.status in {303, 401}


# P24: the redirect


REDIRECTS = {
    "one byte more": CALLBACK + "/",
    "one byte less": CALLBACK[:-1],
    "another case": CALLBACK.replace("notes", "Notes"),
    "another scheme": CALLBACK.replace("https", "http"),
    "a port": CALLBACK.replace(".org", ".org:444"),
    "a fragment": CALLBACK + "#x",
    "another parameter": CALLBACK + "&x=1",
    "a user name": CALLBACK.replace("notes", "notes.example.org@evil"),
    "a quotation mark": CALLBACK + '"',
    "another script": CALLBACK + "é",
    "a line break": CALLBACK + "\r\nX: y",
    "empty": "",
}


@pytest.mark.parametrize("uri", REDIRECTS.values(), ids=REDIRECTS)
def test_a_redirect_uri_off_by_anything_is_refused_without_redirecting(
    api: Running, client: OAuthClient, browser: dict[str, str], uri: str
) -> None:
    shown = api.ask("GET", client.authorize_url(redirect_uri=uri), key=None, headers=browser)
    for answer in (shown, client.consent(browser, redirect_uri=uri)):
        assert answer.status == 400
        assert "location" not in answer.headers


def test_only_the_port_of_a_loopback_address_may_vary(api: Running, browser: dict[str, str]) -> None:
    client = register(api, redirect_uris=["http://127.0.0.1/callback", "http://[::1]:1/callback"], public=True)
    for uri in ("http://127.0.0.1:49152/callback", "http://[::1]/callback"):
        answer = client.consent(browser, redirect_uri=uri)
        assert answer.headers["location"].startswith(uri + "?code=")
    for uri in ("http://127.0.0.1:49152/callback2", "http://localhost/callback", "http://127.0.0.2/callback"):
        assert client.consent(browser, redirect_uri=uri).status == 400


def test_an_unknown_client_is_told_to_the_user_alone(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    answer = client.consent(browser, client_id="oac-none")
    assert (answer.status, "location" in answer.headers) == (400, False)


def test_a_code_needs_the_redirect_uri_that_it_was_sent_to(api: Running, browser: dict[str, str]) -> None:
    client = register(api, redirect_uris=[CALLBACK, CALLBACK + "2"])
    refused(client.redeem(client.code(browser), redirect_uri=CALLBACK + "2"), "invalid_grant")
    refused(client.redeem(client.code(browser), redirect_uri=None), "invalid_grant")


# proof of possession (P24)

CHALLENGES: dict[str, dict[str, Any]] = {
    "missing": {"code_challenge": None, "code_challenge_method": None},
    "plain": {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
    "plain by default": {"code_challenge": VERIFIER, "code_challenge_method": None},
    "a method alone": {"code_challenge": None},
    "another case": {"code_challenge_method": "s256"},
    "too short": {"code_challenge": "x"},
    "another alphabet": {"code_challenge": "+" * 43},
}


@pytest.mark.parametrize("changes", CHALLENGES.values(), ids=CHALLENGES)
@pytest.mark.parametrize("kind", ["client", "public"])
def test_a_request_without_a_proper_challenge_is_refused(
    request: pytest.FixtureRequest, browser: dict[str, str], kind: str, changes: dict[str, Any]
) -> None:
    found: OAuthClient = request.getfixturevalue(kind)
    back = sent_back(found.consent(browser, **changes))
    assert back["error"] == "invalid_request"
    assert "code" not in back


@pytest.mark.parametrize("verifier", [None, "", "w" * 64, VERIFIER[:-1], "v" * 129, "é" * 50])
@pytest.mark.parametrize("kind", ["client", "public"])
def test_a_code_without_its_verifier_is_refused(
    request: pytest.FixtureRequest, browser: dict[str, str], kind: str, verifier: str | None
) -> None:
    found: OAuthClient = request.getfixturevalue(kind)
    answer = found.redeem(found.code(browser), code_verifier=verifier)
    assert answer.status == 400
    assert answer.json["error"] in {"invalid_request", "invalid_grant"}


# each secret once (P24)


def test_a_second_use_of_a_code_ends_what_the_first_one_gave(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    code = client.code(browser)
    first = client.redeem(code).json
    assert works(api, first["access_token"])
    before = len(audited(api, "authorization.code_reused"))
    refused(client.redeem(code), "invalid_grant")
    assert not works(api, first["access_token"])
    refused(client.refresh(first["refresh_token"]), "invalid_grant")
    assert len(audited(api, "authorization.code_reused")) == before + 1


def test_a_code_is_no_good_to_another_client(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    code = client.code(browser)
    refused(register(api).redeem(code), "invalid_grant")
    assert client.redeem(code).status == 200


def test_an_old_code_is_refused(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    code = client.code(browser)
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE oauth_codes SET expires_at = 1")
    refused(client.redeem(code), "invalid_grant")


def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_family(
    api: Running, client: OAuthClient, browser: dict[str, str], email: str
) -> None:
    first = client.tokens(browser)
    second = client.refresh(first["refresh_token"]).json
    assert works(api, second["access_token"])
    assert second["refresh_token"] != first["refresh_token"]
    before = len(audited(api, "authorization.refresh_reused"))
    refused(client.refresh(first["refresh_token"]), "invalid_grant")
    for token in (first["access_token"], second["access_token"]):
        assert not works(api, token)
    refused(client.refresh(second["refresh_token"]), "invalid_grant")
    rows = audited(api, "authorization.refresh_reused")
    assert len(rows) == before + 1
    assert rows[-1][0] == api.ask("GET", "/api/v1/me", key=client.tokens(browser)["access_token"]).json["id"]


def test_a_refresh_may_ask_for_less_and_not_for_more(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    first = client.tokens(browser)
    narrow = client.refresh(first["refresh_token"], scope="models:read").json
    assert narrow["scope"] == "models:read"
    wide = client.refresh(narrow["refresh_token"]).json
    assert wide["scope"].split() == SCOPES
    refused(client.refresh(wide["refresh_token"], scope="models:read keys:write"), "invalid_scope")


def test_a_refresh_token_of_another_client_is_refused(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    made = client.tokens(browser)
    refused(register(api).refresh(made["refresh_token"]), "invalid_grant")


# P22: changes count on the next request


def test_an_expired_token_is_refused_and_says_so(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    made = client.tokens(browser)
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE oauth_tokens SET expires_at = 1")
    answer = api.ask("GET", "/api/v1/me", key=made["access_token"])
    assert answer.status == 401
    assert "expired" in answer.json["error"]["message"]
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert client.introspect(made["access_token"]) == {"active": False}
    refused(client.refresh(made["refresh_token"]), "invalid_grant")


def test_a_disabled_users_tokens_end_at_once(api: Running, client: OAuthClient) -> None:
    email = f"gone{next(_numbers)}@example.test"
    api.make_user(email)
    browser = session_of(api, email)
    made, code = client.tokens(browser), client.code(browser)
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1 WHERE email = ?", email)
    assert not works(api, made["access_token"])
    assert client.introspect(made["access_token"]) == {"active": False}
    refused(client.refresh(made["refresh_token"]), "invalid_grant")
    refused(client.redeem(code), "invalid_grant")


def test_a_right_that_a_user_loses_is_gone_from_their_tokens_at_once(api: Running) -> None:
    email = f"demoted{next(_numbers)}@example.test"
    api.make_user(email, role="admin")
    browser = session_of(api, email)
    client = register(api, scopes=["models:read", "models:write"])
    both = client.tokens(browser, scope="models:read models:write")
    only = client.tokens(browser, scope="models:write")
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET role = 'user' WHERE email = ?", email)
    assert api.ask("GET", "/api/v1/me", key=both["access_token"]).json["permissions"] == ["models:read"]
    assert client.introspect(both["access_token"])["scope"] == "models:read"
    assert client.refresh(both["refresh_token"]).json["scope"] == "models:read"
    refused(client.refresh(only["refresh_token"]), "invalid_grant")


def test_what_is_taken_from_a_client_is_gone_from_its_tokens_at_once(api: Running, browser: dict[str, str]) -> None:
    client = register(api)
    made = client.tokens(browser)
    path = f"/api/v1/oauth/clients/{client.id}"
    assert api.ask("PATCH", path, {"scopes": ["models:read"]}).json["scopes"] == ["models:read"]
    assert api.ask("GET", "/api/v1/me", key=made["access_token"]).json["permissions"] == ["models:read"]
    assert api.ask("DELETE", path).status == 204
    assert not works(api, made["access_token"])


def test_a_user_sees_what_they_allowed_and_ends_it(api: Running, browser: dict[str, str], email: str) -> None:
    client = register(api, name="To be ended", scopes=["keys:read", "keys:write"])
    made = client.tokens(browser, scope=None)
    key = made["access_token"]
    found = api.ask("GET", "/api/v1/me/authorizations?page_size=100", key=key).json["data"]
    mine = next(entry for entry in found if entry["client_id"] == client.id)
    assert (mine["client_name"], mine["scopes"]) == ("To be ended", ["keys:read", "keys:write"])
    path = f"/api/v1/me/authorizations/{mine['id']}"
    other = api.ask("GET", path)  # the administrator's key
    missing = api.ask("GET", "/api/v1/me/authorizations/grant-none")
    assert (other.status, other.json["error"]["message"]) == (404, missing.json["error"]["message"])
    assert api.ask("DELETE", path).status == 404
    assert api.ask("DELETE", path, key=key, headers={"If-Match": '"old"'}).status == 412
    assert api.ask("DELETE", path, key=key).status == 204
    assert not works(api, key)
    assert len(audited(api, "authorization.revoked", mine["id"])) == 1


@pytest.mark.parametrize("how", ["revoked", "token revoked", "reused", "client deleted"])
def test_keys_that_were_made_with_a_token_end_with_its_grant(api: Running, browser: dict[str, str], how: str) -> None:
    client = register(api, name="Maker", scopes=["keys:read", "keys:write", "models:read"])
    code = client.code(browser, scope=None)
    token = client.redeem(code).json["access_token"]
    made = api.ask("POST", "/api/v1/keys", {"name": "made"}, key=token).json
    again = api.ask("POST", "/api/v1/keys", {"name": "made by that"}, key=made["key"]).json
    rotated = api.ask("POST", f"/api/v1/keys/{made['id']}/rotate", {"grace_seconds": 60}, key=token).json
    secrets = [made["key"], again["key"], rotated["key"]]
    assert all(works(api, secret) for secret in secrets)
    if how == "revoked":
        found = api.ask("GET", "/api/v1/me/authorizations?page_size=100", key=token).json["data"]
        grant = next(entry["id"] for entry in found if entry["client_id"] == client.id)
        assert api.ask("DELETE", f"/api/v1/me/authorizations/{grant}", key=token).status == 204
        assert len(audited(api, "key.revoked", made["id"])) == 1
    elif how == "token revoked":
        assert client.post("/oauth/revoke", {"token": token}).status == 200
    elif how == "reused":
        refused(client.redeem(code), "invalid_grant")
    else:
        assert api.ask("DELETE", f"/api/v1/oauth/clients/{client.id}").status == 204
    assert not any(works(api, secret) for secret in secrets)
