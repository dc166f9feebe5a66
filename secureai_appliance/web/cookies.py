"""The session cookie of the pages, and what keeps other sites from using it."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from secureai_appliance.core.errors import PermissionDenied


def cookie(environ: dict[str, Any], name: str) -> str | None:
    """The value of a cookie, None without it or when the header can't be read."""
    try:
        morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(name)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


def require_same_origin(environ: dict[str, Any]) -> None:
    """Raise PermissionDenied unless one of our own pages sent this request. The Host was checked to be ours before."""
    origin = environ.get("HTTP_ORIGIN") or environ.get("HTTP_REFERER", "")
    if urlsplit(origin).netloc.lower() != environ.get("HTTP_HOST", "").lower():
        raise PermissionDenied("A page of another site can't do this.")
