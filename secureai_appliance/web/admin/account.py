"""`/account`: what people do about their own sign-in: password, second factor, sessions, API keys, programs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import segno
from msgspec import Meta

from secureai_appliance.accounts import keys, passwords, second_factors, sessions, users
from secureai_appliance.accounts.keys import KeyCreate, KeyCreated
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.errors import (
    AuthenticationError,
    Conflict,
    Failure,
    NotFound,
    PermissionDenied,
    RateLimitExceeded,
    ServiceUnavailable,
    ValidationError,
)
from secureai_appliance.store import ListQuery, Transaction
from secureai_appliance.web.admin.cookies import session_cookie
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.hosts import counted_as
from secureai_appliance.web.pages import form, go, page
from secureai_appliance.web.request import Request

ACCOUNT = "/account"
_SHOWN = 100

Asked = Request[None, Any]
Text = Annotated[str, Meta(max_length=1000)]

_REFUSALS = (
    AuthenticationError,
    Conflict,
    NotFound,
    PermissionDenied,
    RateLimitExceeded,
    ServiceUnavailable,
    ValidationError,
)
_NOTICES = {
    "password": "Your password was changed. All other sessions have ended.",
    "second-factor-removed": "The second factor was taken away. All other sessions have ended.",
    "session": "The session was ended.",
    "key": "The key was revoked.",
    "program": "The program's access was ended.",
}


class Done(msgspec.Struct):
    """`done`: what was just done, to say so."""

    done: str = ""


class NewPassword(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the password form sends; `current` only where there is a password, `username` for password managers."""

    username: Text = ""
    current: Text = ""
    password: Text
    again: Text


class Again(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`current`: the password once more, where the session is no longer a recent one."""

    current: Text = ""


class Code(Again, kw_only=True):
    """What the forms of the second factor send."""

    code: Annotated[str, Meta(max_length=100)]


class NewKey(Again, kw_only=True):
    """What the form for a key sends; `expires` is a date or empty."""

    name: Text
    expires: Text = ""


def show(request: Request[None, Done]) -> Answer:
    return _page(request, notice=_NOTICES.get(request.query.done))


def change_password(request: Asked) -> Answer:
    sent, caller, parts = form(request, NewPassword), request.caller, request.parts
    try:
        with parts.store.read() as db:
            user, encoded = users.get(db, caller.user_id), passwords.stored(db, caller.user_id)
        if encoded is not None:
            parts.sign_ins.confirm(caller.email, sent.current, encoded, counted_as(request.client))
        if sent.password != sent.again:
            raise ValidationError("The two new passwords are not the same.", field="again", constraint="same")
        passwords.check_policy(sent.password, user.email, user.name)
        hashed = parts.sign_ins.workshop.hash(sent.password)
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    with parts.store.transaction() as tx:
        passwords.store(tx, caller.user_id, hashed, caller.actor)
        secret = _only_this_session(request, tx)
    return go(f"{ACCOUNT}?done=password", session_cookie(request, secret))


def start_second_factor(request: Asked) -> Answer:
    sent = form(request, Again)
    try:
        _confirm(request, sent)
        with request.parts.store.transaction() as tx:
            request.parts.second_factors.start(tx, request.caller.user_id, request.caller.actor)
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    return go(f"{ACCOUNT}#second-factor")


def confirm_second_factor(request: Asked) -> Answer:
    sent, caller = form(request, Code), request.caller
    try:
        _confirm(request, sent)
        _throttle(request)
        with request.parts.store.transaction() as tx:
            codes = request.parts.second_factors.confirm(tx, caller.user_id, sent.code, caller.actor)
            secret = _only_this_session(request, tx)
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    request.parts.sign_ins.throttle.succeeded(*_counted(request))
    answer = page(request, "recovery_codes.html", codes=codes)
    answer.cookies = (session_cookie(request, secret),)
    return answer


def remove_second_factor(request: Asked) -> Answer:
    sent, caller = form(request, Code), request.caller
    try:
        _confirm(request, sent)
        _throttle(request)
        with request.parts.store.transaction() as tx:
            # a wrong code leaves its trace: no exception may undo it
            right = request.parts.second_factors.take(tx, caller.user_id, sent.code, caller.actor)
            if right:
                second_factors.remove(tx, caller.user_id, caller.actor)
                secret = _only_this_session(request, tx)
        if not right:
            raise AuthenticationError("The code is not right.")
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    return go(f"{ACCOUNT}?done=second-factor-removed", session_cookie(request, secret))


def end_session(request: Asked) -> Answer:
    try:
        with request.parts.store.transaction() as tx:
            sessions.end(tx, request.caller, request.path["id"], sessions.lifetimes(request.parts.configs))
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    return go(f"{ACCOUNT}?done=session#sessions")


def make_key(request: Asked) -> Answer:
    sent = form(request, NewKey)
    try:
        request.caller.require("keys:write")
        _confirm(request, sent)
        with request.parts.store.transaction() as tx:
            created = keys.create(tx, request.caller, KeyCreate(name=sent.name, expires_at=sent.expires or None))
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    return _page(request, created=created)


def revoke_key(request: Asked) -> Answer:
    try:
        request.caller.require("keys:write")
        with request.parts.store.transaction() as tx:
            keys.revoke(tx, request.caller, request.path["id"])
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    return go(f"{ACCOUNT}?done=key#keys")


def revoke_authorization(request: Asked) -> Answer:
    try:
        request.caller.require("keys:write")
        with request.parts.store.transaction() as tx:
            grants.revoke(tx, request.caller, request.path["id"])
    except _REFUSALS as failure:
        return _page(request, refusal=failure)
    return go(f"{ACCOUNT}?done=program#programs")


def _page(
    request: Asked,
    *,
    notice: str | None = None,
    refusal: Failure | None = None,
    created: KeyCreated | None = None,
) -> Answer:
    caller, parts = request.caller, request.parts
    now, query = int(parts.clock.now()), ListQuery(page_size=_SHOWN)
    with parts.store.read() as db:
        set_up = parts.second_factors.set_up(db, caller.user_id, caller.email)
        has_password = passwords.stored(db, caller.user_id) is not None
        values = {
            "user": users.get(db, caller.user_id),
            "has_password": has_password,
            "ask_again": has_password and not sessions.is_recent(db, caller, now),
            "second_factor": second_factors.is_on(db, caller.user_id),
            "recovery_codes": second_factors.recovery_codes_left(db, caller.user_id),
            "sessions": sessions.list_(db, caller, query, now, sessions.lifetimes(parts.configs)).data,
            "keys": keys.list_(db, caller, query).data if caller.may("keys:read") else [],
            "programs": grants.list_(db, caller, query, now).data if caller.may("keys:read") else [],
        }
    return page(
        request,
        "account.html",
        status=200 if refusal is None else 403 if isinstance(refusal, AuthenticationError) else refusal.status,
        headers={} if refusal is None or refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)},
        notice=notice,
        refusal=refusal.message if refusal is not None else None,
        created=created,
        words=PERMISSIONS,
        set_up=set_up,
        qr_code=segno.make(set_up.uri, error="m").svg_data_uri(scale=4, light="#fff") if set_up else None,
        shortest=passwords.MIN_LENGTH,
        longest=passwords.MAX_LENGTH,
        **values,
    )


def _confirm(request: Asked, sent: Again) -> None:
    """Ask for the password again where the session is older than a few minutes: it may be somebody else by now.

    Who has none, and signs in by links, is not asked. Raises what `sign_ins.confirm` raises.
    """
    caller, parts = request.caller, request.parts
    with parts.store.read() as db:
        encoded = passwords.stored(db, caller.user_id)
        recent = sessions.is_recent(db, caller, int(parts.clock.now()))
    if encoded is not None and not recent:
        parts.sign_ins.confirm(caller.email, sent.current, encoded, counted_as(request.client))


def _throttle(request: Asked) -> None:
    request.parts.sign_ins.throttle.spend(*_counted(request))


def _counted(request: Asked) -> tuple[str, str]:
    return f"code {request.caller.user_id}", counted_as(request.client)


def _only_this_session(request: Asked, tx: Transaction) -> str:
    """End the user's other sessions and give this one a new secret."""
    session_id = request.caller.session_id
    if session_id is None:
        raise RuntimeError("a page was opened without a session")
    sessions.end_all(tx, request.caller.user_id, request.caller.actor, but=session_id)
    return sessions.renew(tx, session_id)
