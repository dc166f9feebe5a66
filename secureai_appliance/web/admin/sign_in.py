"""Signing in: `/sign-in` with address and password, `/sign-in/{token}` with a one-time link; and out.

A link is shown first and used up by a button, so that a preview of it does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from secureai_appliance.accounts import second_factors, sessions, users
from secureai_appliance.accounts.sessions import Browser, OpenedBy
from secureai_appliance.accounts.sign_ins import Attempt
from secureai_appliance.core.errors import AuthenticationError, Failure, NotFound, RateLimitExceeded, ServiceUnavailable
from secureai_appliance.governance.audit import Actor
from secureai_appliance.store import Transaction
from secureai_appliance.web.admin.cookies import device_cookie, device_mark, session_cookie
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.hosts import counted_as
from secureai_appliance.web.pages import form, go, page
from secureai_appliance.web.request import Request
from secureai_appliance.web.visitors import local_address, session_secret, visitor

Text = Annotated[str, Meta(max_length=1000)]


class ReturnTo(msgspec.Struct):
    """`return_to`: the page to go to after signing in."""

    return_to: str = "/"


class SignIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the form sends."""

    email: Text
    password: Text
    return_to: str = "/"


class Code(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the form of the second factor sends; `step` stands for the password that was right."""

    step: Annotated[str, Meta(max_length=100)]
    code: Annotated[str, Meta(max_length=100)]
    return_to: str = "/"


def ask(request: Request[None, ReturnTo]) -> Answer:
    return_to = local_address(request.query.return_to)
    if visitor(request.parts, request.environ) is not None:
        return go(return_to)
    return _form(request, return_to)


def sign_in(request: Request[None, None]) -> Answer:
    sent = form(request, SignIn)
    return_to = local_address(sent.return_to)
    attempt = Attempt(counted_as(request.client), device_mark(request))
    try:
        user_id = request.parts.sign_ins.check(sent.email.strip(), sent.password, attempt)
    except (AuthenticationError, RateLimitExceeded, ServiceUnavailable) as failure:
        shown = _failed(request, "password", failure) if isinstance(failure, AuthenticationError) else failure
        return _form(request, return_to, sent.email, shown)
    with request.parts.store.transaction() as tx:
        entry = _let_in(request, tx, user_id, "password")
    return _shown(request, entry, return_to)


def give_code(request: Request[None, None]) -> Answer:
    sent, parts = form(request, Code), request.parts
    return_to = local_address(sent.return_to)
    try:
        with parts.store.read() as db:
            user_id = second_factors.step(db, sent.step, int(parts.clock.now())).user_id
        parts.sign_ins.throttle.spend(f"code {user_id}", counted_as(request.client))
        with parts.store.transaction() as tx:
            step = second_factors.count_try(tx, sent.step)
            # a wrong code leaves its trace: no exception may undo it
            right = parts.second_factors.take(tx, user_id, sent.code, Actor(user_id, ip=request.client))
            if right:
                second_factors.end_step(tx, sent.step)
                entry = _open(request, tx, user_id, step.opened_by)
    except NotFound as failure:
        return _form(request, return_to, failure=failure)
    except RateLimitExceeded as failure:
        return _code_form(request, sent.step, return_to, failure)
    if not right:
        wrong = _failed(request, "code", AuthenticationError("The code is not right."))
        return _code_form(request, sent.step, return_to, wrong)
    parts.sign_ins.throttle.succeeded(f"code {user_id}", counted_as(request.client))
    return _shown(request, entry, return_to)


def _form(
    request: Request[None, ReturnTo] | Request[None, None],
    return_to: str,
    email: str = "",
    failure: Failure | None = None,
) -> Answer:
    return page(
        request,
        "sign_in.html",
        status=_status(failure),
        headers=_retry_after(failure),
        refusal=failure.message if failure is not None else None,
        email=email,
        return_to=return_to,
    )


def _code_form(request: Request[None, None], step: str, return_to: str, failure: Failure | None = None) -> Answer:
    return page(
        request,
        "second_factor.html",
        status=_status(failure),
        headers=_retry_after(failure),
        refusal=failure.message if failure is not None else None,
        step=step,
        return_to=return_to,
    )


def _status(failure: Failure | None) -> int:
    # 401 would need a challenge of HTTP authentication, which makes browsers ask for a password themselves
    return 200 if failure is None else 403 if isinstance(failure, AuthenticationError) else failure.status


def _retry_after(failure: Failure | None) -> dict[str, str]:
    return {} if failure is None or failure.retry_after is None else {"Retry-After": str(failure.retry_after)}


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
            entry = _let_in(request, tx, sessions.redeem_link(tx, request.path["token"]), "link")
    except NotFound as failure:
        return _refused_link(request, failure)
    return _shown(request, entry, "/")


def _failed(request: Request[None, None], way: str, failure: Failure) -> Failure:
    """Count a refused sign-in; what to say: `failure`, or that it was one too many from this address."""
    try:
        request.parts.failed_authentication(request.client, "sign_in.failed", "sign_in", way)
    except RateLimitExceeded as exceeded:
        return exceeded
    return failure


def _refused_link(request: Request[None, None], failure: NotFound) -> Answer:
    shown = _failed(request, "link", failure)
    return page(request, "link.html", status=shown.status, headers=_retry_after(shown), refusal=shown.message)


def sign_out(request: Request[None, None]) -> Answer:
    secret = session_secret(request.parts, request.environ)
    if secret is not None and visitor(request.parts, request.environ) is not None:
        with request.parts.store.transaction() as tx:
            sessions.close(tx, secret, request.client)
    return go("/", session_cookie(request, None))


@dataclass(frozen=True)
class _Entry:
    """A session's secret and its user's address; or, where there is a second factor, the step that comes first."""

    secret: str = ""
    email: str = ""
    step: str | None = None


def _let_in(request: Request[None, None], tx: Transaction, user_id: str, opened_by: OpenedBy) -> _Entry:
    if second_factors.is_on(tx, user_id):
        return _Entry(step=second_factors.begin_step(tx, user_id, opened_by))
    return _open(request, tx, user_id, opened_by)


def _open(request: Request[None, None], tx: Transaction, user_id: str, opened_by: OpenedBy) -> _Entry:
    """Open a new session in place of the one that the browser has."""
    before = session_secret(request.parts, request.environ)
    if before is not None:
        sessions.close(tx, before, request.client)
    # what the first start wrote for whoever signs in first has done its work
    tx.after_commit(lambda: request.parts.data.first_start.unlink(missing_ok=True))
    agent = request.environ.get("HTTP_USER_AGENT", "")
    lasting = sessions.lifetimes(request.parts.configs)
    secret = sessions.open_(tx, user_id, opened_by, Browser(request.client, agent), lasting)
    return _Entry(secret, users.get(tx, user_id).email)


def _shown(request: Request[None, None], entry: _Entry, return_to: str) -> Answer:
    # after the transaction: pages look at the session that the browser has, and note that it was used
    if entry.step is not None:
        return _code_form(request, entry.step, return_to)
    return go(return_to, session_cookie(request, entry.secret), device_cookie(request, entry.email))
