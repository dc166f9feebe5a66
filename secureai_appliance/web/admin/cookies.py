"""The cookies that signing in sets."""

from __future__ import annotations

from typing import Any

from secureai_appliance.accounts import sessions
from secureai_appliance.accounts.sign_ins import DEVICE_LIFETIME
from secureai_appliance.web.cookies import cookie, is_secure, set_cookie
from secureai_appliance.web.request import Request

DEVICE_COOKIE = "secureai_device"


def session_cookie(request: Request[Any, Any], secret: str | None) -> str:
    """Opens the session with this secret in the browser; None: takes it away."""
    lifetime = 0 if secret is None else sessions.lifetimes(request.parts.configs).whole
    return set_cookie(sessions.COOKIE, secret or "", lifetime, secure=_secure(request))


def device_cookie(request: Request[Any, Any], email: str) -> str:
    """Makes the browser known to this account."""
    return set_cookie(DEVICE_COOKIE, request.parts.sign_ins.mark(email), DEVICE_LIFETIME, secure=_secure(request))


def device_mark(request: Request[Any, Any]) -> str | None:
    """What an earlier sign-in left in the browser."""
    return cookie(request.environ, DEVICE_COOKIE, secure=_secure(request))


def _secure(request: Request[Any, Any]) -> bool:
    return is_secure(request.parts.settings, request.environ)
