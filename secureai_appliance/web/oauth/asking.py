"""From our request to what the OAuth endpoints are asked, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from secureai_appliance.accounts.oauth.endpoints import check_transport
from secureai_appliance.accounts.oauth.requests import Answered, Asked
from secureai_appliance.web.addresses import public_url
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.policies import PAGE_POLICY
from secureai_appliance.web.request import Request


def issuer(request: Request[Any, Any]) -> str:
    """The one name of this server, never taken from a request. Raises PermissionDenied where it is not safe to use."""
    address = public_url(request.parts.settings, int(request.environ["SERVER_PORT"]))
    check_transport(address, insecure_http=insecure_http(request))
    return address


def insecure_http(request: Request[Any, Any]) -> bool:
    """Whether the administrator lets secrets cross the network in the clear."""
    return bool(request.parts.configs.value("oauth.allow_insecure_http"))


def asked(request: Request[Any, Any], fields: Mapping[str, str]) -> Asked:
    """What was asked of an endpoint."""
    return Asked(
        fields=fields,
        issuer=issuer(request),
        authorization=request.environ.get("HTTP_AUTHORIZATION"),
        ip=request.client,
        method=request.environ["REQUEST_METHOD"],
    )


def answer(answered: Answered) -> Answer:
    """What it answers, never to be stored (RFC 6749, 5.1)."""
    if answered.location is not None:
        return Answer(answered.status, headers={"Location": answered.location, "Cache-Control": "no-store"})
    headers = {**answered.headers, "Cache-Control": "no-store", "Pragma": "no-cache"}
    headers.pop("Content-Type", None)
    return Answer(answered.status, msgspec.json.encode(answered.body), headers=headers)


def policy_for(redirect_uri: str) -> dict[str, str]:
    """The pages' policy, and that their form may lead to the client: browsers look at redirects of a form too."""
    target = urlsplit(redirect_uri)
    return {
        "Content-Security-Policy": PAGE_POLICY.replace(
            "form-action 'self'", f"form-action 'self' {target.scheme}://{target.netloc}"
        )
    }
