"""Who looks at a page, and where they are sent to sign in."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from secureai_appliance.accounts import sessions
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.web.cookies import cookie, is_secure
from secureai_appliance.web.parts import Parts

SIGN_IN = "/sign-in"
_LONGEST_ADDRESS = 2000


def session_secret(parts: Parts, environ: dict[str, Any]) -> str | None:
    """What the session cookie holds."""
    return cookie(environ, sessions.COOKIE, secure=is_secure(parts.settings, environ))


def visitor(parts: Parts, environ: dict[str, Any]) -> Caller | None:
    """The user of the session cookie, None without a valid one."""
    secret = session_secret(parts, environ)
    if secret is None:
        return None
    now = int(parts.clock.now())
    with parts.store.read() as db:
        caller = sessions.authenticate(db, secret, now, sessions.lifetimes(parts.configs))
    if caller is not None and caller.session_id is not None:
        sessions.touch(parts.store, caller.session_id, now)
    return caller


def sign_in_address(method: str, environ: dict[str, Any]) -> str:
    """Where somebody who is not signed in is sent: to come back to the page that they asked for."""
    if method not in {"GET", "HEAD"}:
        return SIGN_IN  # what was sent is lost
    path = quote(environ.get("PATH_INFO", "/").encode("latin-1"))
    query = environ.get("QUERY_STRING", "")
    return f"{SIGN_IN}?return_to={quote(f'{path}?{query}' if query else path, safe='')}"


def local_address(text: str) -> str:
    """`text` when it is a page of ours (`/…`), else the first page: nobody is sent to another site."""
    plain = text.isascii() and text.isprintable() and "\\" not in text and len(text) <= _LONGEST_ADDRESS
    # `//` is another host at the start, and in the path where a proxy takes `/./` away
    if not plain or not text.startswith("/") or "//" in text.partition("?")[0]:
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else text
