"""The endpoints of OAuth 2.0, without HTTP: what was asked goes in, what to answer comes out.

What is refused is an answer too, so that the transaction commits: a code that came a second time ends its grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from authlib.common.security import is_secure_transport
from authlib.oauth2.rfc6749 import OAuth2Error
from authlib.oauth2.rfc6749.errors import InvalidScopeError
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import clients
from secureai_appliance.accounts.oauth.protocol import (
    ANY_METHOD,
    WITH_SECRET,
    OAuthServer,
    granted,
    refused,
)
from secureai_appliance.accounts.oauth.requests import Answered, Asked, OAuthRequest, check
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.errors import PermissionDenied
from secureai_appliance.store import Reader, Transaction


@dataclass(frozen=True)
class Consent:
    """What a user has to decide."""

    client_name: str
    scopes: frozenset[str]
    """What they would pass on: what is asked for, as far as they have it themselves."""
    redirect_uri: str


@dataclass(frozen=True)
class Refusal:
    """An authorization request that can't be answered to the client, because where to is not known: for a page."""

    message: str


def check_transport(issuer: str, *, insecure_http: bool) -> None:
    """Raise PermissionDenied when secrets would cross a network in the clear and nobody allowed it."""
    if not insecure_http and not is_secure_transport(issuer):
        raise PermissionDenied(
            "OAuth needs https: set public_url to an https address, or on a trusted network oauth.allow_insecure_http.",
            code="insecure_transport",
        )


def consent(db: Reader, asked: Asked, user: Caller, now: int) -> Consent | Refusal | Answered:
    """Look at an authorization request: something to decide, or why not."""
    server, request, grant = _authorization(db, asked, user, now)
    if isinstance(grant, (Refusal, Answered)):
        return grant
    scopes = granted(request.scope, user)
    if not scopes:
        return _nothing(server, request, grant.redirect_uri)
    return Consent(request.client.name, scopes, grant.redirect_uri)


def _nothing(server: OAuthServer, request: OAuthRequest, redirect_uri: str) -> Answered:
    """Nothing that is asked for is the user's to pass on."""
    return refused(
        server,
        InvalidScopeError(
            "The user has none of the rights that are asked for.",
            redirect_uri=redirect_uri,
            state=request.payload.state,
        ),
    )


def decide(tx: Transaction, asked: Asked, user: Caller, *, allowed: bool) -> Refusal | Answered:
    """Send the browser back to the client, with a code or with `access_denied`."""
    server, request, grant = _authorization(tx, asked, user, tx.wall())
    if isinstance(grant, (Refusal, Answered)):
        return grant
    answer = server.create_authorization_response(request, grant_user=user if allowed else None, grant=grant)
    assert isinstance(answer, Answered)
    return answer


def _authorization(db: Reader, asked: Asked, user: Caller, now: int) -> tuple[OAuthServer, OAuthRequest, Any]:
    server, request = OAuthServer(db, now, asked), OAuthRequest(asked)
    fields = asked.fields
    # first where an answer may go: until that is certain nothing is sent anywhere
    client = clients.find(db, fields.get("client_id", ""))
    if client is None:
        return server, request, Refusal("No program is registered under this client_id.")
    target = fields.get("redirect_uri")
    if target is None and client.get_default_redirect_uri() is None:
        return server, request, Refusal("The program did not say where to send you back to (redirect_uri).")
    if target is not None and not client.check_redirect_uri(target):
        return server, request, Refusal("The address to send you back to (redirect_uri) is not one of the program's.")
    try:
        check(asked)
        return server, request, server.get_consent_grant(request, end_user=user)
    except OAuth2Error as error:
        error.redirect_uri = error.redirect_uri or target or client.get_default_redirect_uri()
        error.state = fields.get("state")
        return server, request, refused(server, error)


def token(tx: Transaction, asked: Asked, now: int) -> Answered:
    """`/oauth/token`."""
    server = OAuthServer(tx, now, asked)
    try:
        check(asked)
    except OAuth2Error as error:
        return refused(server, error)
    return _answered(server.create_token_response(OAuthRequest(asked)))


def endpoint(name: str, db: Reader, asked: Asked, now: int) -> Answered:
    """`revocation` and `device_authorization` (with a transaction), `introspection`."""
    server = OAuthServer(db, now, asked)
    try:
        check(asked)
    except OAuth2Error as error:
        return refused(server, error)
    return _answered(server.create_endpoint_response(name, OAuthRequest(asked)))


def metadata(issuer: str) -> dict[str, Any]:
    """RFC 8414."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
        "scopes_supported": sorted(PERMISSIONS),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            DEVICE_CODE_GRANT_TYPE,
        ],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ANY_METHOD,
        "revocation_endpoint_auth_methods_supported": ANY_METHOD,
        "introspection_endpoint_auth_methods_supported": WITH_SECRET,
        "authorization_response_iss_parameter_supported": True,
        "service_documentation": f"{issuer}/docs",
    }


def _answered(answer: object) -> Answered:
    assert isinstance(answer, Answered)
    return answer
