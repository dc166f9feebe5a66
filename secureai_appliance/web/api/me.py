"""`/me`: who the caller is."""

from __future__ import annotations

from secureai_appliance.accounts import users
from secureai_appliance.accounts.user_fields import Me
from secureai_appliance.governance.quotas import LimitState
from secureai_appliance.web.request import Request


def show(request: Request[None, None]) -> Me:
    with request.parts.store.read() as db:
        return users.me(db, request.caller)


def limits(request: Request[None, None]) -> LimitState:
    caller = request.caller
    return request.parts.quotas.state(caller.user_id, caller.tier, caller.limits)
