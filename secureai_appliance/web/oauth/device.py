"""`/oauth/device`: where the user of a device without a browser enters its code and decides."""

from __future__ import annotations

from typing import Any

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import devices
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.errors import NotFound
from secureai_appliance.governance import audit
from secureai_appliance.web.answers import Answer
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
        with request.parts.store.read() as db:
            device = devices.waiting(db, user_code, _now(request))
    except NotFound as failure:
        return _code_page(request, failure)
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
        device = devices.waiting(request.tx, request.form.get("user_code", ""), _now(request))
    except NotFound as failure:
        return _code_page(request, failure)
    allowed = request.form.get("decision") == "allow"
    devices.decide(request.tx, device, caller, allowed=allowed)
    _record(request, caller, device, allowed=allowed)
    return page(request, "oauth_device_done.html", client_name=device.client_name, allowed=allowed)


def _record(request: Request[Any, Any], caller: Caller, device: devices.Device, *, allowed: bool) -> None:
    action = "authorization.granted" if allowed else "authorization.denied"
    scopes = sorted(device.scopes & caller.permissions)
    audit.record(request.tx, caller.actor, action, "oauth_client", device.client_id, details={"scopes": scopes})


def _code_page(request: Request[Any, Any], failure: NotFound | None) -> Answer:
    status = failure.status if failure else 200
    return page(request, "oauth_device.html", status=status, refusal=failure.message if failure else None)


def _now(request: Request[Any, Any]) -> int:
    return int(request.parts.clock.now())
