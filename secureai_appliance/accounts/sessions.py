"""Sessions of the pages, which passwords and one-time links open; their owner can look at them and end them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict, NotFound, ServiceUnavailable
from secureai_appliance.core.ids import hash_secret, new_id, new_secret
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Store, Transaction, list_page

OWNED = (
    Owned("sessions", "user_id", "delete", credential=True),
    Owned("sign_in_links", "user_id", "delete", credential=True),
)
LINK_LIFETIME = 24 * 3600
RECENT = 600
"""Seconds after signing in for which what is worth most on the account page is not asked the password for again."""
COOKIE = "secureai_session"
_MINUTE = 60
_LONGEST_AGENT = 200
_COLUMNS = "id, user_id, opened_by, address, agent, last_seen_at, expires_at, created_at"
_OPEN = "expires_at > ? AND created_at > ? AND last_seen_at > ? AND last_seen_at < ?"
_AHEAD = 3600

OpenedBy = Literal["link", "password"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lifetimes:
    """Seconds after which a session ends: whatever is done in it, and without a request."""

    whole: int = 12 * 3600
    idle: int = 3600

    def bounds(self, now: int) -> tuple[int, int, int, int]:
        """For `_OPEN`. One that was opened under a longer bound ends by the one that counts now.

        One that was seen under a clock that was far ahead would never be idle: it is over.
        """
        return now, now - self.whole, now - self.idle, now + _AHEAD


def lifetimes(configs: Configs) -> Lifetimes:
    """As the settings say now."""
    values = configs.values()
    return Lifetimes(values["sessions.hours"] * 3600, values["sessions.idle_minutes"] * 60)


class Session(msgspec.Struct, kw_only=True):
    """A session without its secret. `last_seen_at` is exact to the minute; `current`: the one that asks."""

    id: str
    user_id: str
    opened_by: OpenedBy
    address: str
    agent: str
    current: bool
    last_seen_at: str
    expires_at: str
    created_at: str


@dataclass(frozen=True)
class Browser:
    """Where a session is opened: the client's address and what the browser calls itself."""

    address: str
    agent: str


def create_link(tx: Transaction, user_id: str, actor: Actor = SYSTEM) -> str:
    """The token of a new one-time sign-in link for this user; it works once, within 24 h."""
    token = new_secret()
    now = tx.now()
    tx.run(
        "INSERT INTO sign_in_links (token_hash, user_id, expires_at, created_at) VALUES (?, ?, ?, ?)",
        hash_secret(token),
        user_id,
        tx.wall() + LINK_LIFETIME,
        now,
    )
    audit.record(tx, actor, "sign_in_link.created", "user", user_id)
    return token


class SignInLink(msgspec.Struct, kw_only=True):
    """A link that signs a user in once; whoever has it is let in."""

    user_id: str
    url: str
    expires_at: str


def invite(tx: Transaction, caller: Caller, user_id: str, address: str) -> SignInLink:
    """Make a link for a user who has no password or lost it; `address`: of the appliance. A second factor stays asked.

    Raises NotFound; Conflict for a disabled user; PermissionDenied for a caller who is bound or has fewer rights.
    """
    user = users.get(tx, user_id)
    caller.require_unbound(users.rights(tx, user_id))
    if user.disabled:
        raise Conflict("The user is disabled: a link would sign nobody in.", field="disabled", constraint="disabled")
    token = create_link(tx, user_id, caller.actor)
    return SignInLink(user_id=user_id, url=f"{address}/sign-in/{token}", expires_at=rfc3339(tx.wall() + LINK_LIFETIME))


def require_link(db: Reader, token: str, now: int) -> None:
    """Raise NotFound when the link is unknown, used, too old or a disabled user's: they are not told apart."""
    if _link_user(db, token, now) is None:
        raise _no_link()


def redeem_link(tx: Transaction, token: str) -> str:
    """Use a one-time link up: the id of the user it signs in. Raises NotFound as `require_link` does."""
    user_id = _link_user(tx, token, tx.wall())
    if user_id is None:
        raise _no_link()
    tx.run("DELETE FROM sign_in_links WHERE token_hash = ?", hash_secret(token))
    return user_id


def _link_user(db: Reader, token: str, now: int) -> str | None:
    found: str | None = db.value(
        "SELECT l.user_id FROM sign_in_links l JOIN users u ON u.id = l.user_id"
        " WHERE l.token_hash = ? AND l.expires_at > ? AND NOT u.disabled",
        hash_secret(token),
        now,
    )
    return found


def _no_link() -> NotFound:
    return NotFound("This sign-in link was used already or is too old. Ask an administrator for a new one.")


def open_(
    tx: Transaction, user_id: str, opened_by: OpenedBy, browser: Browser, lasting: Lifetimes = Lifetimes()
) -> str:
    """Open a session: its secret, for the cookie."""
    session_id, secret, now = new_id("ses"), new_secret(), tx.now()
    tx.run(
        "INSERT INTO sessions (id, user_id, secret_hash, opened_by, address, agent, last_seen_at, expires_at,"
        " created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(session_id, user_id, hash_secret(secret), opened_by, browser.address),
        *(_printable(browser.agent), tx.wall(), tx.wall() + lasting.whole, now),
    )
    actor = Actor(user_id, ip=browser.address)
    audit.record(tx, actor, "session.opened", "session", session_id, details={"opened_by": opened_by})
    return secret


def authenticate(db: Reader, secret: str, now: int, lasting: Lifetimes) -> Caller | None:
    """Who this session belongs to; None when it is unknown, over or idle for too long, or the user is disabled."""
    row = db.one(
        "SELECT u.id, s.id FROM sessions s JOIN users u ON u.id = s.user_id"
        " WHERE s.secret_hash = ? AND s.expires_at > ? AND s.created_at > ? AND s.last_seen_at > ?"
        " AND s.last_seen_at < ? AND NOT u.disabled",
        hash_secret(secret),
        *lasting.bounds(now),
    )
    if row is None:
        return None
    user_id, session_id = row
    return users.caller_of(db, user_id, session_id=session_id)


def touch(store: Store, session_id: str, now: int) -> None:
    """Remember that a session was used, once a minute at most; a page is shown even when this can't be written."""
    minute = now - now % _MINUTE
    with store.read() as db:
        if (db.value("SELECT last_seen_at FROM sessions WHERE id = ?", session_id) or 0) >= minute:
            return
    try:
        with store.transaction() as tx:
            tx.run("UPDATE sessions SET last_seen_at = ? WHERE id = ?", now, session_id)
    except ServiceUnavailable:
        log.warning("the last use of session %s could not be written", session_id)


def list_(db: Reader, caller: Caller, query: ListQuery, now: int, lasting: Lifetimes) -> Page[Session]:
    """A page of the caller's open sessions."""
    params = (caller.user_id, *lasting.bounds(now))
    page = list_page(db, _LIST, query, where=f"user_id = ? AND {_OPEN}", params=params)
    for session in page.data:
        session.current = session.id == caller.session_id
    return page


def get(db: Reader, caller: Caller, session_id: str, now: int, lasting: Lifetimes) -> Session:
    """One of the caller's open sessions. Raises NotFound, also for another user's."""
    row = db.one(
        f"SELECT {_COLUMNS} FROM sessions WHERE user_id = ? AND id = ? AND {_OPEN}",  # noqa: S608 (constant fragments)
        *(caller.user_id, session_id, *lasting.bounds(now)),
    )
    if row is None:
        raise NotFound("There is no such session.")
    session = _session(row)
    session.current = session.id == caller.session_id
    return session


def is_recent(db: Reader, caller: Caller, now: int) -> bool:
    """Whether the caller signed in a moment ago."""
    opened_at = db.value("SELECT created_at FROM sessions WHERE id = ?", caller.session_id)
    return opened_at is not None and opened_at > now - RECENT


def end(tx: Transaction, caller: Caller, session_id: str, lasting: Lifetimes) -> None:
    """End one of the caller's sessions; the next request with it is refused. Raises NotFound."""
    get(tx, caller, session_id, tx.wall(), lasting)
    tx.run("DELETE FROM sessions WHERE id = ?", session_id)
    audit.record(tx, caller.actor, "session.ended", "session", session_id)


def end_all(tx: Transaction, user_id: str, actor: Actor, *, but: str | None = None) -> int:
    """End every session of a user but one; how many there were."""
    ended = tx.run("DELETE FROM sessions WHERE user_id = ? AND id IS NOT ?", user_id, but)
    if ended:
        audit.record(tx, actor, "session.all_ended", "user", user_id, details={"sessions": ended})
    return ended


def renew(tx: Transaction, session_id: str) -> str:
    """A new secret for a session whose rights have changed: whoever had the old one is out."""
    secret = new_secret()
    tx.run("UPDATE sessions SET secret_hash = ? WHERE id = ?", hash_secret(secret), session_id)
    return secret


def close(tx: Transaction, secret: str, address: str) -> None:
    """End the session with this secret, if there is one; `address`: the client's."""
    row = tx.one("DELETE FROM sessions WHERE secret_hash = ? RETURNING id, user_id", hash_secret(secret))
    if row is not None:
        audit.record(tx, Actor(row[1], ip=address), "session.ended", "session", row[0])


def sweep(tx: Transaction, lasting: Lifetimes) -> None:
    """Forget links and sessions that are over."""
    now = tx.wall()
    tx.run("DELETE FROM sign_in_links WHERE expires_at <= ?", now)
    tx.run(f"DELETE FROM sessions WHERE NOT ({_OPEN})", *lasting.bounds(now))  # noqa: S608 (constant fragments)


def _printable(agent: str) -> str:
    return "".join(letter for letter in agent if letter.isprintable())[:_LONGEST_AGENT]


def _session(row: tuple[Any, ...]) -> Session:
    session_id, user_id, opened_by, address, agent, last_seen_at, expires_at, created_at = row
    return Session(
        id=session_id,
        user_id=user_id,
        opened_by=opened_by,
        address=address,
        agent=agent,
        current=False,
        last_seen_at=rfc3339(last_seen_at - last_seen_at % _MINUTE),
        expires_at=rfc3339(expires_at),
        created_at=rfc3339(created_at),
    )


_LIST: ListSpec[Session] = ListSpec(
    columns=_COLUMNS,
    source="sessions",
    sortable={"created_at": "created_at", "last_seen_at": "last_seen_at"},
    read=_session,
)
