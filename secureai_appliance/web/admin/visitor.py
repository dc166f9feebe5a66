"""Who looks at a page that anybody may see."""

from __future__ import annotations

from typing import Any

from secureai_appliance.accounts import sessions
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.web.cookies import cookie
from secureai_appliance.web.request import Request


def visitor(request: Request[Any, Any]) -> Caller | None:
    """The user of the session cookie, None without a valid one."""
    secret = cookie(request.environ, sessions.COOKIE)
    if secret is None:
        return None
    with request.parts.store.read() as db:
        return sessions.authenticate(db, secret, int(request.parts.clock.now()))
