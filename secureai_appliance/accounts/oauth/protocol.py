"""Authlib's server on our tables: one object per request, inside that request's transaction.

Authlib decides what the standards ask for; the classes here tell it what we keep. All of them are given what
`requests.check` let through: text that can stand in an answer.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Error, grants
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE, DeviceAuthorizationEndpoint, DeviceCodeGrant

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import clients, codes, devices, tokens
from secureai_appliance.accounts.oauth import grants as families
from secureai_appliance.accounts.oauth.clients import Registered
from secureai_appliance.accounts.oauth.codes import Code
from secureai_appliance.accounts.oauth.devices import Device
from secureai_appliance.accounts.oauth.requests import Answered, Asked, OAuthRequest
from secureai_appliance.accounts.oauth.tokens import Token
from secureai_appliance.core.ids import new_secret
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.store import Reader, Transaction

# it writes tokens into its log at level DEBUG
logging.getLogger("authlib").setLevel(logging.INFO)

CODE_PREFIX = "soc-"
DEVICE_PREFIX = "sdc-"
_BASIC, _POST, _NONE = "client_secret_basic", "client_secret_post", "none"
ANY_METHOD = [_BASIC, _POST, _NONE]
WITH_SECRET = [_BASIC, _POST]
_KINDS: dict[str, families.Kind] = {
    "authorization_code": "code",
    DEVICE_CODE_GRANT_TYPE: "device",
    "client_credentials": "client",
}


class OAuthServer(AuthorizationServer):  # type: ignore[misc]
    """The server for one request."""

    def __init__(self, db: Reader, now: int, asked: Asked) -> None:
        super().__init__()
        self.db = db
        self.now = now
        self.asked = asked
        self.register_token_generator("default", _generate)
        self.register_grant(CodeGrant, [Pkce(required=True)])
        self.register_grant(RefreshGrant)
        self.register_grant(ClientGrant)
        self.register_grant(DeviceGrant)
        for endpoint in (Revocation, Introspection, DeviceAuthorization):
            self.register_endpoint(endpoint(self))

    @property
    def tx(self) -> Transaction:
        assert isinstance(self.db, Transaction), "this endpoint writes"
        return self.db

    def audit(self, action: str, grant_id: str | None, client_id: str, user_id: str | None, **details: Any) -> None:
        """A row of the audit log about a grant."""
        actor = Actor(user_id, None, self.asked.ip)
        audit.record(self.tx, actor, action, "authorization", grant_id, details={"client_id": client_id, **details})

    # what Authlib asks for

    def create_oauth2_request(self, request: OAuthRequest) -> OAuthRequest:
        return request

    def query_client(self, client_id: str) -> Registered | None:
        return clients.find(self.db, client_id)

    def authenticate_client(self, request: OAuthRequest, methods: list[str], endpoint: str = "token") -> Any:
        try:
            return super().authenticate_client(request, methods, endpoint)
        except UnicodeDecodeError:
            raise InvalidClientError("The Authorization header can't be read.", status_code=401) from None

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answered:
        given = dict(headers)
        location = given.pop("Location", None)
        if location is None:
            return Answered(status, body or {}, given)
        # RFC 9207: a client that knows several servers sees which one answers
        return Answered(303, location=add_params_to_uri(location, [("iss", self.asked.issuer)]))

    def save_token(self, token: dict[str, Any], request: OAuthRequest) -> None:
        """Keep new tokens, under a new grant or the one of the refresh token that was used."""
        scopes = frozenset(token["scope"].split())
        access_until = self.now + tokens.ACCESS_SECONDS
        until = self.now + tokens.REFRESH_SECONDS if "refresh_token" in token else access_until
        old: Token | None = request.refresh_token
        if old is not None:
            grant_id = old.grant_id
            families.extend(self.tx, grant_id, until)
            self.audit("authorization.refreshed", grant_id, old.client_id, old.user.user_id)
        else:
            grant_id = self._new_grant(request, scopes, until)
        tokens.issue(self.tx, grant_id, token["access_token"], scopes, access_until)
        if "refresh_token" in token:
            # RFC 6749, 6: a refresh for fewer scopes narrows the access token alone
            kept = scopes if old is None else old.user.permissions
            tokens.issue(self.tx, grant_id, token["refresh_token"], kept, until)

    def _new_grant(self, request: OAuthRequest, scopes: frozenset[str], until: int) -> str:
        client, user, kind = request.client, request.user, _KINDS[request.payload.grant_type]
        grant_id = families.create(self.tx, client.id, user.user_id, kind=kind, scopes=scopes, expires_at=until)
        if request.authorization_code is not None:
            codes.use_up(self.tx, request.authorization_code, grant_id)
        if request.credential is not None:
            devices.use_up(self.tx, request.credential)
        self.audit("authorization.used", grant_id, client.id, user.user_id, kind=kind, scopes=sorted(scopes))
        return grant_id


def _generate(scope: str, include_refresh_token: bool, **_: Any) -> dict[str, Any]:
    """New tokens with exactly these scopes: what may be asked for was decided before."""
    made = {
        "token_type": "Bearer",
        "access_token": new_secret(tokens.ACCESS_PREFIX),
        "expires_in": tokens.ACCESS_SECONDS,
        "scope": scope,
    }
    return {**made, "refresh_token": new_secret(tokens.REFRESH_PREFIX)} if include_refresh_token else made


class Pkce(CodeChallenge):  # type: ignore[misc]
    """Proof of possession for every client, by SHA-256 alone (ruling of RFC 9700, 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        given = grant.request.payload.data
        if not given.get("code_challenge"):
            raise InvalidRequestError("Missing 'code_challenge': every client has to use PKCE.")
        if given.get("code_challenge_method") != "S256":
            raise InvalidRequestError("The 'code_challenge_method' must be S256.")
        super().validate_code_challenge(grant, redirect_uri)


class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ANY_METHOD
    server: OAuthServer

    def generate_authorization_code(self) -> str:
        return new_secret(CODE_PREFIX)

    def save_authorization_code(self, code: str, request: OAuthRequest) -> None:
        user: Caller = request.user
        scopes = granted(request.scope, user)
        if not scopes:
            raise InvalidScopeError(
                "The user has none of the rights that are asked for.", redirect_uri=self.redirect_uri
            )
        given = request.payload.data
        codes.create(
            self.server.tx,
            code,
            client_id=request.client.id,
            user=user,
            scopes=scopes,
            redirect_uri=given.get("redirect_uri"),
            challenge=given["code_challenge"],
        )
        audit.record(
            self.server.tx,
            user.actor,
            "authorization.granted",
            "oauth_client",
            request.client.id,
            details={"scopes": sorted(scopes)},
        )

    def query_authorization_code(self, code: str, client: Registered) -> Code | None:
        found = codes.find(self.server.db, code, client.id, self.server.now)
        if found is None:
            return None
        if found.grant_id is not None:
            # somebody else has it too: nothing that came of it can be trusted
            if families.end(self.server.tx, found.grant_id):
                self.server.audit("authorization.code_reused", found.grant_id, client.id, found.user.user_id)
            return None
        return None if found.expired else found

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It is kept, used up with the grant that it became."""

    def authenticate_user(self, authorization_code: Code) -> Caller | None:
        # without a right that is left there would be a token for nothing
        return authorization_code.user if authorization_code.user.permissions else None


class RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ANY_METHOD
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: OAuthServer

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        found = tokens.find(self.server.db, refresh_token, self.server.now)
        if found is None or found.kind != "refresh":
            return None
        if found.used and not found.is_expired() and families.end(self.server.tx, found.grant_id):
            # the rightful client has a newer one: one of the two that hold this is a thief
            self.server.audit("authorization.refresh_reused", found.grant_id, found.client_id, found.user.user_id)
        return None if found.is_revoked() or found.is_expired() else found

    def authenticate_user(self, refresh_token: Token) -> Caller:
        if not refresh_token.user.permissions:
            raise InvalidGrantError("The user has none of the rights any more.")
        return refresh_token.user

    def revoke_old_credential(self, refresh_token: Token) -> None:
        tokens.use_up(self.server.tx, refresh_token)


class ClientGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    """A client on its own acts as the user that it was registered with."""

    TOKEN_ENDPOINT_AUTH_METHODS = WITH_SECRET
    server: OAuthServer

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        client: Registered = self.request.client
        allowed = client.get_allowed_scope(self.request.payload.scope)
        if allowed is None or client.user_id is None:
            raise InvalidScopeError("The client can't have a scope that it asks for.")
        found = users.get(self.server.db, client.user_id)
        if found.disabled:
            raise UnauthorizedClientError("The user that this client acts as is disabled.")
        user = users.caller_of(self.server.db, found.id)
        scopes = granted(allowed, user)
        if not scopes:
            raise InvalidScopeError("The user that this client acts as has none of the rights that are asked for.")
        self.request.user = user
        token = self.generate_token(user=user, scope=" ".join(sorted(scopes)), include_refresh_token=False)
        self.save_token(token)
        return 200, token, self.TOKEN_RESPONSE_HEADER


class DeviceGrant(DeviceCodeGrant):  # type: ignore[misc]
    server: OAuthServer

    def query_device_credential(self, device_code: str) -> Device | None:
        self._device = devices.by_device_code(self.server.db, device_code, self.server.now)
        return self._device

    def query_user_grant(self, _user_code: str) -> tuple[Caller | None, bool] | None:
        device = self._device
        if device is None or device.allowed is None:
            return None
        return device.user, device.allowed and device.user is not None and bool(device.user.permissions)

    def should_slow_down(self, credential: Device) -> bool:
        return devices.asked(self.server.tx, credential, self.server.now)


class DeviceAuthorization(DeviceAuthorizationEndpoint):  # type: ignore[misc]
    EXPIRES_IN = devices.LIFETIME
    INTERVAL = devices.WAIT
    server: OAuthServer

    def authenticate_client(self, request: OAuthRequest) -> Registered:
        client: Registered = super().authenticate_client(request)
        if not client.check_grant_type(DEVICE_CODE_GRANT_TYPE):
            raise UnauthorizedClientError("The client is not registered for the device grant.")
        if client.get_allowed_scope(request.payload.scope) is None:
            raise InvalidScopeError("The client can't have a scope that it asks for.")
        if devices.too_many(self.server.db, client.id, self.server.now):
            raise OAuth2Error(
                error="temporarily_unavailable",
                description="Too many devices of this client wait for their users.",
                status_code=503,
            )
        self._client = client
        return client

    def generate_device_code(self) -> str:
        return new_secret(DEVICE_PREFIX)

    def get_verification_uri(self) -> str:
        return f"{self.server.asked.issuer}/oauth/device"

    def save_device_credential(self, client_id: str, scope: str | None, data: dict[str, Any]) -> None:
        scopes = frozenset((self._client.get_allowed_scope(scope) or "").split())
        devices.create(self.server.tx, data["device_code"], data["user_code"], client_id, scopes)


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = ANY_METHOD
    server: OAuthServer

    def check_params(self, request: OAuthRequest, _client: Registered) -> None:
        _require_token(request)

    def query_token(self, token_string: str, _hint: str | None) -> Token | None:
        return tokens.find(self.server.db, token_string, self.server.now)

    def revoke_token(self, token: Token, _request: OAuthRequest) -> None:
        tokens.revoke(self.server.tx, token)
        self.server.audit(
            "authorization.revoked", token.grant_id, token.client_id, token.user.user_id, token=token.kind
        )


class Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = WITH_SECRET
    server: OAuthServer

    def check_params(self, request: OAuthRequest, _client: Registered) -> None:
        _require_token(request)

    def query_token(self, token_string: str, _hint: str | None) -> Token | None:
        return tokens.find(self.server.db, token_string, self.server.now)

    def check_permission(self, token: Token, client: Registered, _request: OAuthRequest) -> bool:
        return client.introspects or token.client_id == client.id

    def introspect_token(self, token: Token) -> dict[str, Any]:
        return {
            "active": True,
            "scope": token.get_scope(),
            "client_id": token.client_id,
            "username": token.user.email,
            "sub": token.user.user_id,
            "iss": self.server.asked.issuer,
            "iat": token.created_at,
            "exp": token.expires_at,
            **({"token_type": "Bearer"} if token.kind == "access" else {}),
        }


def _require_token(request: OAuthRequest) -> None:
    # a hint of an unknown kind is no error (RFC 7009, 2.1): we look everywhere
    if "token" not in request.form:
        raise InvalidRequestError("Missing 'token' in request.")


def granted(scope: str, user: Caller) -> frozenset[str]:
    """What of the scopes asked for the user can pass on."""
    return frozenset(scope.split()) & user.permissions


def refused(server: OAuthServer, error: OAuth2Error) -> Answered:
    """An error as an answer of the token endpoint and its like."""
    answer = server.handle_response(*error())
    assert isinstance(answer, Answered)
    return replace(answer, status=400) if answer.location is None and answer.status < 400 else answer
