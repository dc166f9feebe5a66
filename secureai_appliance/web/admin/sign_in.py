"""`/sign-in/{token}`: a one-time link is shown first and used up by a button, so that a preview of it does no harm."""

from __future__ import annotations

from secureai_appliance.accounts import sessions
from secureai_appliance.core.errors import NotFound
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.cookies import cookie, require_same_origin
from secureai_appliance.web.pages import page
from secureai_appliance.web.request import Request

_ATTRIBUTES = "Path=/; HttpOnly; SameSite=Lax"


def show(request: Request[None, None]) -> Answer:
    return page("sign_in.html", refusal=None)


def redeem(request: Request[None, None]) -> Answer:
    require_same_origin(request.environ)
    try:
        secret = sessions.redeem_link(request.tx, request.path["token"])
    except NotFound as failure:
        return page("sign_in.html", status=failure.status, refusal=failure.message)
    # what the first start wrote for whoever signs in first has done its work
    request.tx.after_commit(lambda: request.parts.data.first_start.unlink(missing_ok=True))
    lifetime = f"Max-Age={sessions.SESSION_LIFETIME}"
    return _go_home(request, f"{sessions.COOKIE}={secret}; {lifetime}; {_ATTRIBUTES}")


def sign_out(request: Request[None, None]) -> Answer:
    require_same_origin(request.environ)
    secret = cookie(request.environ, sessions.COOKIE)
    if secret is not None:
        sessions.close(request.tx, secret)
    return _go_home(request, f"{sessions.COOKIE}=; Max-Age=0; {_ATTRIBUTES}")


def _go_home(request: Request[None, None], set_cookie: str) -> Answer:
    secure = "; Secure" if request.parts.settings.public_url.startswith("https://") else ""
    return Answer(303, b"", headers={"Location": "/", "Set-Cookie": set_cookie + secure})
