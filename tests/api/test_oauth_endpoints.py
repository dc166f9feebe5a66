"""Clients of the OAuth server over HTTP: registered, on their own, revoking and introspecting (P24, P25)."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from secureai_appliance.governance.audit import SYSTEM
from tests.support.oauth import (
    CALLBACK,
    FORM,
    SCOPES,
    VERIFIER,
    OAuthClient,
    refused,
    register,
    sent_back,
    session_of,
    works,
)
from tests.support.running import Response, Running

_numbers = itertools.count()


@pytest.fixture(scope="module")
def email(api: Running) -> str:
    api.make_user("oauth2@example.test")
    return "oauth2@example.test"


@pytest.fixture(scope="module")
def browser(api: Running, email: str) -> dict[str, str]:
    return session_of(api, email)


@pytest.fixture(scope="module")
def client(api: Running) -> OAuthClient:
    return register(api)


@pytest.fixture(scope="module")
def public(api: Running) -> OAuthClient:
    return register(api, public=True)


# clients


def test_a_client_on_its_own_acts_as_the_user_that_it_was_registered_with(api: Running) -> None:
    service = api.ask("GET", "/api/v1/me", key=api.make_user(f"service{next(_numbers)}@example.test")).json
    client = register(
        api,
        redirect_uris=[],
        grant_types=["client_credentials"],
        user_id=service["id"],
        scopes=["models:read", "models:write"],
    )
    made = client.post("/oauth/token", {"grant_type": "client_credentials"}).json
    assert "refresh_token" not in made
    me = api.ask("GET", "/api/v1/me", key=made["access_token"]).json
    assert (me["id"], me["permissions"]) == (service["id"], ["models:read"])
    refused(client.post("/oauth/token", {"grant_type": "client_credentials", "scope": "keys:read"}), "invalid_scope")
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1 WHERE id = ?", service["id"])
    refused(client.post("/oauth/token", {"grant_type": "client_credentials"}), "unauthorized_client")


def test_a_client_has_only_the_grants_that_it_was_registered_for(
    client: OAuthClient, public: OAuthClient, api: Running, browser: dict[str, str]
) -> None:
    refused(client.post("/oauth/token", {"grant_type": "client_credentials"}), "unauthorized_client")
    for kind in ("password", "implicit", "x", 'é"'):
        answer = client.post("/oauth/token", {"grant_type": kind, "username": "a", "password": "b"})
        assert answer.status == 400
        assert answer.json["error"] in {"unsupported_grant_type", "invalid_request"}
    assert sent_back(client.consent(browser, response_type="token"))["error"] == "unsupported_response_type"
    without = register(api, grant_types=["authorization_code"])
    assert "refresh_token" not in without.tokens(browser)


def test_a_client_proves_itself_by_header_or_form_and_not_at_all_otherwise(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    def basic(text: bytes) -> dict[str, str]:
        return {"Authorization": f"Basic {base64.b64encode(text).decode()}"}

    nothing = {"client_id": None, "client_secret": None}
    right = f"{client.id}:{client.secret}".encode()
    code = client.code(browser)
    wrong = [b"", b"\xff\xfe:\xff", b"oac-none:x", f"{client.id}:".encode(), right + b"x", right[:-1]]
    for text in wrong:
        answer = client.post("/oauth/token", {"grant_type": "refresh_token", **nothing}, basic(text))
        refused(answer, "invalid_client", 401)
        assert answer.headers["www-authenticate"].startswith("Basic")
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    assert client.post("/oauth/token", fields | {"client_secret": None}).json["error"] == "invalid_client"
    assert client.post("/oauth/token", fields | nothing, basic(right)).status == 200


def test_guessing_secrets_is_bounded_per_address_and_the_right_one_never_refused(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    def bound(most: int) -> None:
        with api.appliance.store.transaction() as tx:
            api.appliance.configs.put(tx, SYSTEM, "limits.failed_authentications_per_minute", most)

    code = client.code(browser)
    wrong = dataclasses.replace(client, secret="scs-wrong")
    bound(1)
    try:
        answers = [wrong.post("/oauth/token", {"grant_type": "client_credentials"}) for _ in range(4)]
        # earlier ones count too, and the minute may end in between
        assert {answer.status for answer in answers} | {401} == {401, 429}
        last = next(answer for answer in answers if answer.status == 429)
        assert (int(last.headers["retry-after"]) >= 1, last.headers["x-ratelimit-remaining"]) == (True, "0")
        assert works(api, client.redeem(code).json["access_token"])
    finally:
        bound(1_000_000)


def test_a_new_secret_ends_the_old_one(api: Running, browser: dict[str, str]) -> None:
    client = register(api)
    code = client.code(browser)
    rotated = api.ask("POST", f"/api/v1/oauth/clients/{client.id}/rotate-secret")
    assert rotated.status == 200
    assert client.redeem(code).json["error"] == "invalid_client"
    client.secret = rotated.json["client_secret"]
    assert client.redeem(code).status == 200


BAD_CLIENTS: dict[str, tuple[dict[str, Any], str]] = {
    "http elsewhere": ({"redirect_uris": ["http://notes.example.org/"]}, "redirect_uris.0"),
    "a fragment": ({"redirect_uris": ["https://a.example/#x"]}, "redirect_uris.0"),
    "an empty fragment": ({"redirect_uris": ["https://a.example/#"]}, "redirect_uris.0"),
    "a user name": ({"redirect_uris": ["https://u@a.example/"]}, "redirect_uris.0"),
    "a script": ({"redirect_uris": ["javascript:alert(1)"]}, "redirect_uris.0"),
    "relative": ({"redirect_uris": ["/callback"]}, "redirect_uris.0"),
    "a line break": ({"redirect_uris": ["https://a.example/\n"]}, "redirect_uris.0"),
    "a policy's end": ({"redirect_uris": ["https://a.example;script-src/"]}, "redirect_uris.0"),
    "a broken address": ({"redirect_uris": ["https://[::1/"]}, "redirect_uris.0"),
    "none": ({"redirect_uris": []}, "redirect_uris"),
    "no scope": ({"scopes": []}, "scopes"),
    "an unknown scope": ({"scopes": ["everything"]}, "scopes"),
    "a name that turns letters around": ({"name": "a\u202eb"}, "name"),
    "on its own without a user": ({"grant_types": ["client_credentials"]}, "user_id"),
    "on its own as nobody": ({"grant_types": ["client_credentials"], "user_id": "usr-none"}, "user_id"),
    "on its own and public": (
        {"grant_types": ["client_credentials"], "user_id": "usr-none", "public": True},
        "public",
    ),
    "a user for nothing": ({"user_id": "usr-none"}, "user_id"),
}


@pytest.mark.parametrize("bad", BAD_CLIENTS.values(), ids=BAD_CLIENTS)
def test_a_client_that_could_do_harm_is_not_registered(api: Running, bad: tuple[dict[str, Any], str]) -> None:
    changes, field = bad
    body = {"name": "Bad", "redirect_uris": [CALLBACK], "scopes": SCOPES, **changes}
    answer = api.ask("POST", "/api/v1/oauth/clients", body)
    assert (answer.status, answer.json["error"]["details"]["field"]) == (400, field), answer.body


def test_a_narrow_key_makes_no_client_that_reaches_further(api: Running) -> None:
    narrow = api.ask("POST", "/api/v1/keys", {"name": "n", "scopes": ["oauth:admin", "models:read"]}).json["key"]
    body = {"name": "Wide", "redirect_uris": [CALLBACK], "scopes": ["models:write"]}
    assert api.ask("POST", "/api/v1/oauth/clients", body, key=narrow).status == 403
    own = {**body, "scopes": ["models:read"], "grant_types": ["client_credentials"], "redirect_uris": []}
    other = api.ask("GET", "/api/v1/me", key=api.make_user(f"other{next(_numbers)}@example.test")).json["id"]
    assert api.ask("POST", "/api/v1/oauth/clients", {**own, "user_id": other}, key=narrow).status == 403
    wide = register(api, scopes=["models:write"])
    assert api.ask("POST", f"/api/v1/oauth/clients/{wide.id}/rotate-secret", key=narrow).status == 403
    elsewhere = {"redirect_uris": ["https://elsewhere.example.org/"]}
    assert api.ask("PATCH", f"/api/v1/oauth/clients/{wide.id}", elsewhere, key=narrow).status == 403


# what is told about a token, and its end (P25)


def test_introspection_of_a_bad_token_is_exactly_inactive(
    api: Running, client: OAuthClient, browser: dict[str, str]
) -> None:
    made = client.tokens(browser)
    client.post("/oauth/revoke", {"token": made["access_token"]})
    foreign = register(api).tokens(browser, scope=None)["access_token"]
    for token in ("", "x", "sat-unknown", made["access_token"], foreign, api.key):
        answer = client.post("/oauth/introspect", {"token": token})
        assert (answer.status, answer.body) == (200, b'{"active":false}')


def test_introspection_tells_the_client_and_a_resource_server_about_a_token(
    api: Running, client: OAuthClient, browser: dict[str, str], email: str
) -> None:
    made = client.tokens(browser)
    for asking in (client, register(api, introspects=True)):
        found = asking.introspect(made["access_token"])
        assert found["active"] is True
        assert (found["client_id"], found["username"]) == (client.id, email)
        assert (found["scope"].split(), found["token_type"]) == (SCOPES, "Bearer")
        assert found["exp"] - found["iat"] == 900


def test_introspection_needs_a_client_with_a_secret(public: OAuthClient, browser: dict[str, str]) -> None:
    refused(public.post("/oauth/introspect", {"token": "x"}), "invalid_client", 401)


def test_revoking_an_unknown_token_is_200_and_no_token_400(client: OAuthClient) -> None:
    for hint in (None, "access_token", "what"):
        assert client.post("/oauth/revoke", {"token": "x", "token_type_hint": hint}).status == 200
    refused(client.post("/oauth/revoke", {}), "invalid_request")


def test_revoking_an_access_token_ends_it_and_a_refresh_token_everything(
    api: Running, client: OAuthClient, public: OAuthClient, browser: dict[str, str]
) -> None:
    for asking in (client, public):
        made = asking.tokens(browser)
        assert asking.post("/oauth/revoke", {"token": made["access_token"]}).status == 200
        assert not works(api, made["access_token"])
        again = asking.refresh(made["refresh_token"]).json
        assert asking.post("/oauth/revoke", {"token": again["refresh_token"]}).status == 200
        assert not works(api, again["access_token"])
        refused(asking.refresh(again["refresh_token"]), "invalid_grant")


def test_a_client_can_not_revoke_anothers_token(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    made = client.tokens(browser)
    register(api).post("/oauth/revoke", {"token": made["access_token"]})
    assert works(api, made["access_token"])


# what is not as it should be


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/device_authorization"])
def test_a_bad_form_is_refused_in_oauths_shape(api: Running, path: str) -> None:
    def post(body: bytes, content_type: str = FORM) -> Response:
        return api.ask("POST", path, body, key=None, headers={"Content-Type": content_type})

    refused(post(b'{"a": 1}', "application/json"), "invalid_request", 415)
    refused(post(b"grant_type=a&grant_type=b"), "invalid_request")
    refused(post(b"a=" + b"x" * 65536), "invalid_request", 413)
    for body in (b"", b"grant_type=%22%5C%0A&client_id=%C3%A9", b"grant_type=authorization_code&client_id=%00"):
        answer = post(body)
        assert answer.status in {400, 401}
        assert answer.json["error"]


def test_the_metadata_is_as_the_standard_wants_it(api: Running) -> None:
    found = api.ask("GET", "/.well-known/oauth-authorization-server", key=None).json
    AuthorizationServerMetadata(found).validate()
    assert found["issuer"] == api.appliance.address
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert "implicit" not in json.dumps(found)
    assert "password" not in json.dumps(found["grant_types_supported"])


@pytest.fixture
def without_https(api: Running) -> Iterator[Running]:
    """The same appliance under an address that secrets would cross a network to."""
    import dataclasses

    from secureai_appliance.web.parts import Parts

    dispatcher = api.appliance._server.gateway._dispatcher
    kept: Parts = dispatcher._parts
    settings = dataclasses.replace(kept.settings, public_url="http://ai.example.org")
    dispatcher._parts = dataclasses.replace(kept, settings=settings)
    yield api
    dispatcher._parts = kept


def test_without_https_nothing_works_beyond_this_machine_unless_allowed(without_https: Running) -> None:
    answer = without_https.ask("POST", "/oauth/token", b"grant_type=x", key=None, headers={"Content-Type": FORM})
    assert (answer.status, answer.json["error"]) == (403, "insecure_transport")
    metadata = "/.well-known/oauth-authorization-server"
    assert without_https.ask("GET", metadata, key=None).status == 403
    setting = "/api/v1/configs/oauth.allow_insecure_http"
    assert without_https.ask("PUT", setting, {"value": True}).status == 200
    try:
        assert without_https.ask("GET", metadata, key=None).json["issuer"] == "http://ai.example.org"
    finally:
        without_https.ask("DELETE", setting)


@pytest.mark.parametrize(
    "bound", [{"expires_at": "2999-01-01"}, {"allowed_ips": ["127.0.0.1"]}, {"allowed_models": ["default"]}], ids=str
)
def test_a_bound_key_makes_no_client_that_would_be_rid_of_its_bounds(api: Running, bound: dict[str, object]) -> None:
    key = api.ask("POST", "/api/v1/keys", {"name": "bound", **bound}).json["key"]
    body = {"name": "s", "scopes": SCOPES, "grant_types": ["client_credentials"]}
    body["user_id"] = api.ask("GET", "/api/v1/me").json["id"]
    assert api.ask("POST", "/api/v1/oauth/clients", body, key=key).status == 403
    assert api.ask("POST", "/api/v1/oauth/clients", body).status == 201
