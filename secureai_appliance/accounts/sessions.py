"""Signing in to the pages: one-time links and the sessions that they open."""

from __future__ import annotations

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.ids import hash_secret, new_secret
from secureai_appliance.store import Reader, Transaction

LINK_LIFETIME = 24 * 3600
SESSION_LIFETIME = 12 * 3600
COOKIE = "secureai_session"


def create_link(tx: Transaction, user_id: str) -> str:
    """The token of a new one-time sign-in link for this user; it works once, within 24 h."""
    token = new_secret()
    now = tx.now()
    tx.run(
        "INSERT INTO sign_in_links (token_hash, user_id, expires_at, created_at) VALUES (?, ?, ?, ?)",
        hash_secret(token),
        user_id,
        now + LINK_LIFETIME,
        now,
    )
    return token


def redeem_link(tx: Transaction, token: str) -> str:
    """Use a one-time link up and open a session: its secret, for the cookie.

    Raises NotFound when the link is unknown, used or too old: the three are not told apart.
    """
    now = tx.now()
    user_id = tx.value(
        "DELETE FROM sign_in_links WHERE token_hash = ? AND expires_at > ? RETURNING user_id", hash_secret(token), now
    )
    if user_id is None:
        raise NotFound("This sign-in link was used already or is too old. Make a new one with: secureai user link")
    secret = new_secret()
    tx.run(
        "INSERT INTO sessions (id_hash, user_id, expires_at, created_at) VALUES (?, ?, ?, ?)",
        hash_secret(secret),
        user_id,
        now + SESSION_LIFETIME,
        now,
    )
    return secret


def authenticate(db: Reader, secret: str, now: int) -> Caller | None:
    """Who this session belongs to; None when it is unknown or over, or the user is disabled."""
    row = db.one(
        "SELECT u.id, u.email, u.role, u.tier, s.expires_at FROM sessions s JOIN users u ON u.id = s.user_id"
        " WHERE s.id_hash = ? AND s.expires_at > ? AND NOT u.disabled",
        hash_secret(secret),
        now,
    )
    if row is None:
        return None
    user_id, email, role, tier, expires_at = row
    return users.caller_of(user_id, email, role, tier, expires_at=expires_at)


def close(tx: Transaction, secret: str) -> None:
    """End a session."""
    tx.run("DELETE FROM sessions WHERE id_hash = ?", hash_secret(secret))


def sweep(tx: Transaction) -> None:
    """Forget links and sessions that are over."""
    now = tx.now()
    tx.run("DELETE FROM sign_in_links WHERE expires_at <= ?", now)
    tx.run("DELETE FROM sessions WHERE expires_at <= ?", now)
