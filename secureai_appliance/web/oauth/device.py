"""`/oauth/device`: where the user of a device without a browser enters its code and decides."""

from __future__ import annotations

from typing import Any

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import devices
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.errors import Failure, NotFound, RateLimitExceeded
from secureai_appliance.governance import audit
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.hosts import counted_as
from secureai_appliance.web.pages import page
from secureai_appliance.web.request import Request


class DeviceQuery(msgspec.Struct, kw_only=True):
    """The code, when it came by the link that the device shows."""

    user_code: str = ""


def show(request: Request[None, DeviceQuery]) -> Answer:
    caller, user_code = request.caller, request.query.user_code
    if not user_code:
        return _code_page(request, None)
    try:
        _count_try(request)
        with request.parts.store.read() as db:
            device = devices.waiting(db, user_code, _now(request))
    except (NotFound, RateLimitExceeded) as failure:
        return _code_page(request, failure)
    request.parts.sign_ins.throttle.succeeded(*_counted(request))
    scopes = device.scopes & caller.permissions
    return page(
        request,
        "oauth_consent.html",
        client_name=device.client_name,
        scopes=[PERMISSIONS[scope] for scope in PERMISSIONS if scope in scopes],
        returns_to=None,
        user_code=user_code.upper(),
    )


def decide(request: Request[None, None]) -> Answer:
    caller = request.caller
    try:
        _count_try(request)
        device = devices.waiting(request.tx, request.form.get("user_code", ""), _now(request))
    except (NotFound, RateLimitExceeded) as failure:
        return _code_page(request, failure)
    request.parts.sign_ins.throttle.succeeded(*_counted(request))
    allowed = request.form.get("decision") == "allow"
    devices.decide(request.tx, device, caller, allowed=allowed)
    _record(request, caller, device, allowed=allowed)
    return page(request, "oauth_device_done.html", client_name=device.client_name, allowed=allowed)


def _record(request: Request[Any, Any], caller: Caller, device: devices.Device, *, allowed: bool) -> None:
    action = "authorization.granted" if allowed else "authorization.denied"
    scopes = sorted(device.scopes & caller.permissions)
    audit.record(request.tx, caller.actor, action, "oauth_client", device.client_id, details={"scopes": scopes})


def _count_try(request: Request[Any, Any]) -> None:
    # RFC 8628, 5.1: the code is short, so that nobody may try many. Raises RateLimitExceeded
    request.parts.sign_ins.throttle.spend(*_counted(request))


def _counted(request: Request[Any, Any]) -> tuple[str, str]:
    return f"device {request.caller.user_id}", counted_as(request.client)


def _code_page(request: Request[Any, Any], failure: Failure | None) -> Answer:
    status = failure.status if failure else 200
    wait = {} if failure is None or failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    refusal = failure.message if failure else None
    return page(request, "oauth_device.html", status=status, headers=wait, refusal=refusal)


def _now(request: Request[Any, Any]) -> int:
    return int(request.parts.clock.now())
