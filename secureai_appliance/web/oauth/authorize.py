"""`/oauth/authorize`: a program asks for access, and its user decides."""

from __future__ import annotations

import msgspec

from secureai_appliance.accounts.oauth import endpoints
from secureai_appliance.accounts.oauth.endpoints import Consent, Refusal
from secureai_appliance.accounts.oauth.requests import Answered, Asked
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.oauth.asking import answer, asked, policy_for
from secureai_appliance.web.pages import page
from secureai_appliance.web.request import Request


class AuthorizeQuery(msgspec.Struct, kw_only=True):
    """RFC 6749, 4.1.1 and RFC 7636, 4.3; whatever else stands there is not read."""

    response_type: str | None = None
    client_id: str | None = None
    redirect_uri: str | None = None
    scope: str | None = None
    state: str | None = None
    code_challenge: str | None = None
    code_challenge_method: str | None = None


AuthorizeRequest = Request[None, AuthorizeQuery]


def show(request: AuthorizeRequest) -> Answer:
    with request.parts.store.read() as db:
        found = endpoints.consent(db, _asked(request), request.caller, int(request.parts.clock.now()))
    return _consent_page(request, found) if isinstance(found, Consent) else _answer(request, found)


def decide(request: AuthorizeRequest) -> Answer:
    allowed = request.form.get("decision") == "allow"
    return _answer(request, endpoints.decide(request.tx, _asked(request), request.caller, allowed=allowed))


def _asked(request: AuthorizeRequest) -> Asked:
    given = msgspec.structs.asdict(request.query)
    return asked(request, {name: value for name, value in given.items() if value is not None})


def _consent_page(request: AuthorizeRequest, found: Consent) -> Answer:
    return page(
        request,
        "oauth_consent.html",
        headers=policy_for(found.redirect_uri),
        client_name=found.client_name,
        scopes=[PERMISSIONS[scope] for scope in PERMISSIONS if scope in found.scopes],
        returns_to=found.redirect_uri,
        user_code=None,
    )


def _answer(request: AuthorizeRequest, found: Refusal | Answered) -> Answer:
    if isinstance(found, Refusal):
        return page(request, "oauth_refused.html", status=400, refusal=found.message)
    return answer(found)
