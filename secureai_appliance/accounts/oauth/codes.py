"""Authorization codes: a consent on its way through the browser, good for one use within two minutes."""

from __future__ import annotations

from dataclasses import dataclass

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.core.ids import hash_secret
from secureai_appliance.store import Reader, Transaction

LIFETIME = 120


@dataclass(frozen=True)
class Code:
    """A stored code as Authlib asks it (`authlib.oauth2.rfc6749.AuthorizationCodeMixin`)."""

    hash: bytes
    user: Caller
    """Who consented, with the rights that the code leaves them now."""
    redirect_uri: str | None
    code_challenge: str
    code_challenge_method: str
    grant_id: str | None
    """What it was used for."""
    expired: bool

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return " ".join(sorted(self.user.permissions))


def create(
    tx: Transaction,
    secret: str,
    *,
    client_id: str,
    user: Caller,
    scopes: frozenset[str],
    redirect_uri: str | None,
    challenge: str,
) -> None:
    """Keep a new code. `scopes` the user holds; `redirect_uri` as it was given, None when it was left out."""
    now, ahead = tx.now(), tx.wall()
    grants.sweep(tx, ahead)
    tx.run(
        "INSERT INTO oauth_codes (code_hash, client_id, user_id, redirect_uri, scopes, challenge, expires_at,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        hash_secret(secret),
        client_id,
        user.user_id,
        redirect_uri,
        grants.scopes_json(scopes),
        challenge,
        ahead + LIFETIME,
        now,
    )


def find(db: Reader, secret: str, client_id: str, now: int) -> Code | None:
    """The code that was given to this client, also a used or expired one; None when its user is disabled."""
    row = db.one(
        "SELECT o.code_hash, o.redirect_uri, o.scopes, o.challenge, o.grant_id, o.expires_at, u.id"
        " FROM oauth_codes o JOIN users u ON u.id = o.user_id"
        " WHERE o.code_hash = ? AND o.client_id = ? AND NOT u.disabled",
        hash_secret(secret),
        client_id,
    )
    if row is None:
        return None
    code_hash, redirect_uri, scopes, challenge, grant_id, expires_at, user_id = row
    return Code(
        hash=code_hash,
        user=users.caller_of(db, user_id, scopes=sorted(grants.read_scopes(scopes))),
        redirect_uri=redirect_uri,
        code_challenge=challenge,
        code_challenge_method="S256",
        grant_id=grant_id,
        expired=expires_at <= now,
    )


def use_up(tx: Transaction, code: Code, grant_id: str) -> None:
    """The code was turned into tokens of this grant."""
    tx.run("UPDATE oauth_codes SET grant_id = ? WHERE code_hash = ?", grant_id, code.hash)
