"""Real OAuth clients, which know nothing of each other or of us: from discovery to introspection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from requests_oauthlib import OAuth2Session as RequestsSession

from tests.support.oauth import FORM, OAuthClient, register, session_of
from tests.support.running import PATIENCE, Running

NODE = Path(__file__).parents[1] / "clients" / "node"
CALLBACK = "http://127.0.0.1:9000/callback"


@pytest.fixture(scope="module")
def browser(api: Running) -> dict[str, str]:
    api.make_user("clients@example.test")
    return session_of(api, "clients@example.test")


@pytest.fixture(scope="module")
def client(api: Running) -> OAuthClient:
    return register(api, redirect_uris=["http://127.0.0.1/callback"], scopes=["models:read"])


def allow(api: Running, browser: dict[str, str], url: str) -> str:
    """The user's click on the consent page at `url`; the address that the browser is sent to."""
    path = url.removeprefix(api.appliance.address)
    assert b"models" in api.ask("GET", path, key=None, headers=browser).body
    answer = api.ask("POST", path, b"decision=allow", key=None, headers={"Content-Type": FORM, **browser})
    assert answer.status == 303, answer.body
    return answer.headers["location"]


@pytest.fixture
def plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients' own switch for a server on the same machine."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.usefixtures("plain_http")
def test_authlib_goes_the_whole_way(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    with AuthlibSession(
        client.id, client.secret, redirect_uri=CALLBACK, scope="models:read", code_challenge_method="S256"
    ) as session:
        found = session.get(
            f"{api.appliance.address}/.well-known/oauth-authorization-server", withhold_token=True
        ).json()
        url, state = session.create_authorization_url(found["authorization_endpoint"], code_verifier="a" * 50)
        back = allow(api, browser, url)
        token = session.fetch_token(
            found["token_endpoint"], authorization_response=back, state=state, code_verifier="a" * 50
        )
        assert session.get(f"{api.base_url}/models").status_code == 200
        newer = session.refresh_token(found["token_endpoint"])
        assert newer["access_token"] != token["access_token"]
        told = session.introspect_token(found["introspection_endpoint"], token=newer["access_token"]).json()
        assert told["active"] is True
        ended = session.revoke_token(found["revocation_endpoint"], token=newer["refresh_token"])
        assert ended.status_code == 200
        told = session.introspect_token(found["introspection_endpoint"], token=newer["access_token"]).json()
        assert told == {"active": False}


@pytest.mark.usefixtures("plain_http")
def test_requests_oauthlib_goes_the_whole_way(api: Running, client: OAuthClient, browser: dict[str, str]) -> None:
    session = RequestsSession(client.id, redirect_uri=CALLBACK, scope=["models:read"], pkce="S256")
    with session:
        found = session.request(
            "GET", f"{api.appliance.address}/.well-known/oauth-authorization-server", withhold_token=True
        ).json()
        url, _ = session.authorization_url(found["authorization_endpoint"])
        back = allow(api, browser, url)
        session.fetch_token(
            found["token_endpoint"], authorization_response=back, client_secret=client.secret, include_client_id=True
        )
        assert session.get(f"{api.base_url}/models").status_code == 200
        credentials = {"client_id": client.id, "client_secret": client.secret}
        newer = session.refresh_token(found["token_endpoint"], **credentials)
        form = {"token": newer["access_token"], **credentials}
        asked = session.request("POST", found["introspection_endpoint"], data=form, withhold_token=True)
        assert asked.json()["active"] is True
        session.request("POST", found["revocation_endpoint"], data=form, withhold_token=True).raise_for_status()
        asked = session.request("POST", found["introspection_endpoint"], data=form, withhold_token=True)
        assert asked.json() == {"active": False}


OPENID_CLIENT = """
import * as client from "openid-client";
const { BASE, ID, SECRET, COOKIE, CALLBACK } = process.env;
const config = await client.discovery(new URL(BASE), ID, SECRET, client.ClientSecretPost(SECRET),
  { algorithm: "oauth2", execute: [client.allowInsecureRequests] });
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const url = client.buildAuthorizationUrl(config, { redirect_uri: CALLBACK, scope: "models:read", state,
  code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256" });
const allowed = await fetch(url, { method: "POST", redirect: "manual", body: "decision=allow",
  headers: { Cookie: COOKIE, Origin: BASE, "Content-Type": "application/x-www-form-urlencoded" } });
const back = new URL(allowed.headers.get("location"));
const first = await client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state });
const called = await client.fetchProtectedResource(config, first.access_token, new URL(BASE + "/api/v1/models"), "GET");
const second = await client.refreshTokenGrant(config, first.refresh_token);
const active = (await client.tokenIntrospection(config, second.access_token)).active;
await client.tokenRevocation(config, second.refresh_token);
const after = (await client.tokenIntrospection(config, second.access_token)).active;
console.log(JSON.stringify({ called: called.status, active, after }));
"""

OAUTH4WEBAPI = """
import * as oauth from "oauth4webapi";
const { BASE, ID, SECRET, COOKIE, CALLBACK } = process.env;
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(BASE);
const server = await oauth.processDiscoveryResponse(issuer,
  await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }));
const me = { client_id: ID };
const auth = oauth.ClientSecretBasic(SECRET);
const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const url = new URL(server.authorization_endpoint);
for (const [name, value] of Object.entries({ client_id: ID, redirect_uri: CALLBACK, response_type: "code",
  scope: "models:read", state, code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256" })) url.searchParams.set(name, value);
const allowed = await fetch(url, { method: "POST", redirect: "manual", body: "decision=allow",
  headers: { Cookie: COOKIE, Origin: BASE, "Content-Type": "application/x-www-form-urlencoded" } });
const given = oauth.validateAuthResponse(server, me, new URL(allowed.headers.get("location")), state);
const first = await oauth.processAuthorizationCodeResponse(server, me,
  await oauth.authorizationCodeGrantRequest(server, me, auth, given, CALLBACK, verifier, insecure));
const called = await oauth.protectedResourceRequest(first.access_token, "GET", new URL(BASE + "/api/v1/models"),
  undefined, undefined, insecure);
const second = await oauth.processRefreshTokenResponse(server, me,
  await oauth.refreshTokenGrantRequest(server, me, auth, first.refresh_token, insecure));
const ask = async () => (await oauth.processIntrospectionResponse(server, me,
  await oauth.introspectionRequest(server, me, auth, second.access_token, insecure))).active;
const active = await ask();
await oauth.processRevocationResponse(
  await oauth.revocationRequest(server, me, auth, second.refresh_token, insecure));
console.log(JSON.stringify({ called: called.status, active, after: await ask() }));
"""


@pytest.mark.parametrize(
    ("package", "script"),
    [("openid-client", OPENID_CLIENT), ("oauth4webapi", OAUTH4WEBAPI)],
    ids=lambda text: text[:13],
)
def test_javascript_goes_the_whole_way(
    api: Running, client: OAuthClient, browser: dict[str, str], package: str, script: str
) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules" / package).is_dir():
        if os.environ.get("CI"):
            pytest.fail("node or its packages are missing: packaging/test.sh installs them")
        pytest.skip("node is not installed: the JavaScript clients were not tried")
    assert client.secret
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        cwd=NODE,
        env={
            **os.environ,
            "BASE": api.appliance.address,
            "ID": client.id,
            "SECRET": client.secret,
            "COOKIE": browser["Cookie"],
            "CALLBACK": CALLBACK,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"called": 200, "active": True, "after": False}


def test_a_browser_is_asked_to_sign_in_and_comes_back_to_the_same_request(api: Running, client: OAuthClient) -> None:
    path = client.authorize_url(scope="models:read")
    answer = api.ask("GET", path, key=None)
    assert answer.status == 303
    target = urlsplit(answer.headers["location"])
    assert target.path == "/sign-in"
    assert parse_qs(target.query)["return_to"] == [path]
