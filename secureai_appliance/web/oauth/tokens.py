"""`/oauth/token`, `/revoke`, `/introspect`, `/device_authorization` and the metadata: what programs ask."""

from __future__ import annotations

import msgspec

from secureai_appliance.accounts.oauth import endpoints
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.oauth.asking import answer, asked, issuer
from secureai_appliance.web.request import Request


def token(request: Request[None, None]) -> Answer:
    return answer(endpoints.token(request.tx, asked(request, request.form), _now(request)))


def revoke(request: Request[None, None]) -> Answer:
    return answer(endpoints.endpoint("revocation", request.tx, asked(request, request.form), _now(request)))


def introspect(request: Request[None, None]) -> Answer:
    with request.parts.store.read() as db:
        return answer(endpoints.endpoint("introspection", db, asked(request, request.form), _now(request)))


def device_authorization(request: Request[None, None]) -> Answer:
    return answer(endpoints.endpoint("device_authorization", request.tx, asked(request, request.form), _now(request)))


def metadata(request: Request[None, None]) -> Answer:
    return Answer(body=msgspec.json.encode(endpoints.metadata(issuer(request))))


def _now(request: Request[None, None]) -> int:
    return int(request.parts.clock.now())
