"""The cookies of the pages, and what keeps other sites from using them."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from secureai_appliance.core.errors import PermissionDenied
from secureai_appliance.settings import Settings

_ATTRIBUTES = "Path=/; HttpOnly; SameSite=Lax"


def is_secure(settings: Settings, environ: dict[str, Any]) -> bool:
    """Whether browsers reach the pages by TLS, ours or a proxy's."""
    return settings.public_url.startswith("https://") or environ.get("wsgi.url_scheme") == "https"


def cookie(environ: dict[str, Any], name: str, *, secure: bool) -> str | None:
    """The value of a cookie of ours, None without it or when the header can't be read."""
    try:
        morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(_full_name(name, secure))
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


def set_cookie(name: str, value: str, lifetime: int, *, secure: bool) -> str:
    """The header's value; `lifetime` in seconds, 0 takes the cookie away."""
    return f"{_full_name(name, secure)}={value}; Max-Age={lifetime}; {_ATTRIBUTES}{'; Secure' if secure else ''}"


def _full_name(name: str, secure: bool) -> str:
    # with this prefix browsers take the cookie from this very host alone, by TLS: no neighbour can plant one
    return f"__Host-{name}" if secure else name


def require_same_origin(environ: dict[str, Any]) -> None:
    """Raise PermissionDenied unless one of our own pages sent this request. The Host was checked to be ours before."""
    origin = environ.get("HTTP_ORIGIN") or environ.get("HTTP_REFERER", "")
    host = environ.get("HTTP_HOST", "").lower()
    if not host or urlsplit(origin).netloc.lower() != host:
        raise PermissionDenied("A page of another site can't do this.")
