"""OAuth against a running appliance, over plain HTTP: what a client sends, and the user's browser beside it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from secureai_appliance.accounts import sessions, users
from tests.support.running import Response, Running

FORM = "application/x-www-form-urlencoded"
CALLBACK = "https://notes.example.org/callback?from=here"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPES = ["completions:create", "models:read"]
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


def session_of(api: Running, email: str) -> dict[str, str]:
    """Headers of a browser that is signed in, on a page of ours."""
    with api.appliance.store.transaction() as tx:
        browser = sessions.Browser("127.0.0.1", "test")
        secret = sessions.open_(tx, users.by_email(tx, email).id, "link", browser)
    return {"Cookie": f"{sessions.COOKIE}={secret}", "Origin": api.appliance.address}


@dataclass
class OAuthClient:
    """A registered client that speaks for itself."""

    api: Running
    id: str
    secret: str | None
    redirect_uri: str = CALLBACK
    defaults: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
        """A form, with the client's credentials in it."""
        own = {"client_id": self.id} | ({"client_secret": self.secret} if self.secret else {})
        given = {name: value for name, value in (own | fields).items() if value is not None}
        return self.api.ask(
            "POST", path, urlencode(given).encode(), key=None, headers={"Content-Type": FORM, **(headers or {})}
        )

    def authorize_url(self, **changes: Any) -> str:
        fields = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(SCOPES),
            "state": 'a"b\\c d',
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        return "/oauth/authorize?" + urlencode({name: value for name, value in fields.items() if value is not None})

    def consent(self, browser: dict[str, str], decision: str = "allow", **changes: Any) -> Response:
        """The user's click."""
        return self.api.ask(
            "POST",
            self.authorize_url(**changes),
            f"decision={decision}".encode(),
            key=None,
            headers={"Content-Type": FORM, **browser},
        )

    def code(self, browser: dict[str, str], **changes: Any) -> str:
        return sent_back(self.consent(browser, **changes))["code"]

    def redeem(self, code: str, **changes: Any) -> Response:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": VERIFIER,
        }
        return self.post("/oauth/token", fields | changes)

    def tokens(self, browser: dict[str, str], **changes: Any) -> dict[str, Any]:
        answer = self.redeem(self.code(browser, **changes))
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    def refresh(self, token: str, **changes: Any) -> Response:
        return self.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": token, **changes})

    def introspect(self, token: str) -> Any:
        return self.post("/oauth/introspect", {"token": token}).json


def sent_back(answer: Response) -> dict[str, str]:
    """What the browser is sent back to the client with."""
    assert answer.status == 303, answer.body
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def register(api: Running, **changes: Any) -> OAuthClient:
    """A new client."""
    body = {"name": "Notes", "redirect_uris": [CALLBACK], "scopes": SCOPES, **changes}
    answer = api.ask("POST", "/api/v1/oauth/clients", body)
    assert answer.status == 201, answer.body
    return OAuthClient(api, answer.json["id"], answer.json["client_secret"], (body["redirect_uris"] or [""])[0])


def works(api: Running, token: str) -> bool:
    return api.ask("GET", "/api/v1/me", key=token).status == 200


def refused(answer: Response, error: str, status: int = 400) -> None:
    """An error in OAuth's shape."""
    assert (answer.status, answer.json["error"]) == (status, error), answer.body
    assert set(answer.json) <= {"error", "error_description", "error_uri"}
    assert answer.headers["cache-control"] == "no-store"
    assert "x-request-id" in answer.headers


def audited(api: Running, action: str, target: str | None = None) -> list[Any]:
    with api.appliance.store.read() as db:
        return db.all(
            "SELECT actor_id, target_id FROM audit_log WHERE action = ? AND (? IS NULL OR target_id = ?)",
            *(action, target, target),
        )
