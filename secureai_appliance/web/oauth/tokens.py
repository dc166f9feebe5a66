"""`/oauth/token`, `/revoke`, `/introspect`, `/device_authorization` and the metadata: what programs ask."""

from __future__ import annotations

from http.client import OK

import msgspec

from secureai_appliance.accounts.oauth import endpoints
from secureai_appliance.accounts.oauth.requests import Answered
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.oauth.asking import answer, asked, issuer
from secureai_appliance.web.request import Request


def token(request: Request[None, None]) -> Answer:
    return _told(request, endpoints.token(request.tx, asked(request, request.form), _now(request)))


def revoke(request: Request[None, None]) -> Answer:
    return _told(request, endpoints.endpoint("revocation", request.tx, asked(request, request.form), _now(request)))


def introspect(request: Request[None, None]) -> Answer:
    with request.parts.store.read() as db:
        answered = endpoints.endpoint("introspection", db, asked(request, request.form), _now(request))
    return _told(request, answered)


def device_authorization(request: Request[None, None]) -> Answer:
    answered = endpoints.endpoint("device_authorization", request.tx, asked(request, request.form), _now(request))
    if answered.status == OK and "client_secret" not in request.form and "HTTP_AUTHORIZATION" not in request.environ:
        # whoever knows a public client may begin: one address must not take the places of everybody's devices
        request.parts.without_credential(request.client)
    return _told(request, answered)


def metadata(request: Request[None, None]) -> Answer:
    return Answer(body=msgspec.json.encode(endpoints.metadata(issuer(request))))


def _told(request: Request[None, None], answered: Answered) -> Answer:
    """The answer. A client that did not show who it is counts as a failed sign-in does: raises RateLimitExceeded."""
    if answered.body.get("error") == "invalid_client":
        target = f"{request.environ['REQUEST_METHOD']} {request.environ['PATH_INFO']}"
        request.parts.failed_authentication(request.client, "authentication.failed", "route", target)
    return answer(answered)


def _now(request: Request[None, None]) -> int:
    return int(request.parts.clock.now())
