"""Signing in: `/sign-in` with address and password, `/sign-in/{token}` with a one-time link; and out.

A link is shown first and used up by a button, so that a preview of it does no harm.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from secureai_appliance.accounts import sessions
from secureai_appliance.accounts.sessions import Browser, OpenedBy
from secureai_appliance.accounts.sign_ins import DEVICE_LIFETIME, Attempt
from secureai_appliance.core.errors import AuthenticationError, Failure, NotFound, RateLimitExceeded, ServiceUnavailable
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.refusals import Refusal
from secureai_appliance.store import Transaction
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.cookies import cookie, is_secure, set_cookie
from secureai_appliance.web.hosts import counted_as
from secureai_appliance.web.pages import form, go, page
from secureai_appliance.web.request import Request
from secureai_appliance.web.visitors import local_address, session_secret, visitor

DEVICE_COOKIE = "secureai_device"

Text = Annotated[str, Meta(max_length=1000)]


class ReturnTo(msgspec.Struct):
    """`return_to`: the page to go to after signing in."""

    return_to: str = "/"


class SignIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the form sends."""

    email: Text
    password: Text
    return_to: str = "/"


def ask(request: Request[None, ReturnTo]) -> Answer:
    return_to = local_address(request.query.return_to)
    if visitor(request.parts, request.environ) is not None:
        return go(return_to)
    return _form(request, return_to)


def sign_in(request: Request[None, None]) -> Answer:
    sent = form(request, SignIn)
    return_to = local_address(sent.return_to)
    mark = cookie(request.environ, DEVICE_COOKIE, secure=_secure(request))
    try:
        user_id = request.parts.sign_ins.check(
            sent.email.strip(), sent.password, Attempt(counted_as(request.client), mark)
        )
    except (AuthenticationError, RateLimitExceeded, ServiceUnavailable) as failure:
        if isinstance(failure, AuthenticationError):
            _note_failure(request, "password")
        return _form(request, return_to, sent.email, failure)
    with request.parts.store.transaction() as tx:
        secret = _open(request, tx, user_id, "password")
    secure = _secure(request)
    new_mark = request.parts.sign_ins.mark(sent.email)
    return go(
        return_to,
        _session_cookie(request, secret),
        set_cookie(DEVICE_COOKIE, new_mark, DEVICE_LIFETIME, secure=secure),
    )


def _form(
    request: Request[None, ReturnTo] | Request[None, None],
    return_to: str,
    email: str = "",
    failure: Failure | None = None,
) -> Answer:
    # 401 would need a challenge of HTTP authentication, which makes browsers ask for a password themselves
    status = 200 if failure is None else 403 if isinstance(failure, AuthenticationError) else failure.status
    headers = {} if failure is None or failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
    refusal = failure.message if failure is not None else None
    return page(
        request, "sign_in.html", status=status, headers=headers, refusal=refusal, email=email, return_to=return_to
    )


def show_link(request: Request[None, None]) -> Answer:
    try:
        with request.parts.store.read() as db:
            sessions.require_link(db, request.path["token"], int(request.parts.clock.now()))
    except NotFound as failure:
        return _refused_link(request, failure)
    return page(request, "link.html", refusal=None)


def redeem_link(request: Request[None, None]) -> Answer:
    now = int(request.parts.clock.now())
    try:
        # read first: whoever has no link makes nobody wait for the disk
        with request.parts.store.read() as db:
            sessions.require_link(db, request.path["token"], now)
        with request.parts.store.transaction() as tx:
            secret = _open(request, tx, sessions.redeem_link(tx, request.path["token"]), "link")
    except NotFound as failure:
        return _refused_link(request, failure)
    return go("/", _session_cookie(request, secret))


def _note_failure(request: Request[None, None], way: str) -> None:
    refusal = Refusal("sign_in.failed", Actor(ip=request.client), "sign_in", way, "failure")
    request.parts.refusals.note(refusal, request.parts.clock.now())


def _refused_link(request: Request[None, None], failure: NotFound) -> Answer:
    _note_failure(request, "link")
    return page(request, "link.html", status=failure.status, refusal=failure.message)


def sign_out(request: Request[None, None]) -> Answer:
    secret = session_secret(request.parts, request.environ)
    if secret is not None and visitor(request.parts, request.environ) is not None:
        with request.parts.store.transaction() as tx:
            sessions.close(tx, secret, request.client)
    return go("/", set_cookie(sessions.COOKIE, "", 0, secure=_secure(request)))


def _open(request: Request[None, None], tx: Transaction, user_id: str, opened_by: OpenedBy) -> str:
    """A new session in place of the one that the browser has."""
    before = session_secret(request.parts, request.environ)
    if before is not None:
        sessions.close(tx, before, request.client)
    # what the first start wrote for whoever signs in first has done its work
    tx.after_commit(lambda: request.parts.data.first_start.unlink(missing_ok=True))
    agent = request.environ.get("HTTP_USER_AGENT", "")
    return sessions.open_(tx, user_id, opened_by, Browser(request.client, agent))


def _session_cookie(request: Request[None, None], secret: str) -> str:
    return set_cookie(sessions.COOKIE, secret, sessions.SESSION_LIFETIME, secure=_secure(request))


def _secure(request: Request[None, None]) -> bool:
    return is_secure(request.parts.settings, request.environ)
