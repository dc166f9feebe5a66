"""Access and refresh tokens: random, stored as hashes, never with more rights than their user has at that moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.core.errors import AuthenticationError
from secureai_appliance.core.ids import hash_secret
from secureai_appliance.store import Reader, Transaction

ACCESS_PREFIX = "sat-"
REFRESH_PREFIX = "srt-"
ACCESS_SECONDS = 15 * 60
REFRESH_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Token:
    """A stored token as Authlib asks it (`authlib.oauth2.rfc6749.TokenMixin`). Times are unix seconds."""

    hash: bytes
    kind: str
    grant_id: str
    client_id: str
    user: Caller
    """Its user, with the rights that the token leaves them now."""
    user_disabled: bool
    used: bool
    revoked: bool
    expires_at: int
    created_at: int
    now: int

    def check_client(self, client: object) -> bool:
        return getattr(client, "id", None) == self.client_id

    def get_scope(self) -> str:
        return " ".join(sorted(self.user.permissions))

    def is_expired(self) -> bool:
        return self.expires_at <= self.now

    def is_revoked(self) -> bool:
        return self.revoked or self.used or self.user_disabled


def issue(tx: Transaction, grant_id: str, secret: str, scopes: Iterable[str], expires_at: int) -> None:
    """Keep a new token of a grant; its prefix says what it is."""
    kind = "access" if secret.startswith(ACCESS_PREFIX) else "refresh"
    tx.run(
        "INSERT INTO oauth_tokens (token_hash, grant_id, kind, scopes, expires_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        *(hash_secret(secret), grant_id, kind, grants.scopes_json(scopes), expires_at, tx.now()),
    )


def find(db: Reader, secret: str, now: int) -> Token | None:
    """The token with this secret, also one that is used, revoked or expired."""
    row = db.one(
        "SELECT t.token_hash, t.kind, t.grant_id, t.scopes, t.used_at IS NOT NULL, t.revoked_at IS NOT NULL"
        " OR g.revoked_at IS NOT NULL, t.expires_at, t.created_at, g.client_id, c.scopes, u.id, u.disabled"
        " FROM oauth_tokens t JOIN oauth_grants g ON g.id = t.grant_id"
        " JOIN oauth_clients c ON c.id = g.client_id JOIN users u ON u.id = g.user_id WHERE t.token_hash = ?",
        hash_secret(secret),
    )
    if row is None:
        return None
    token_hash, kind, grant_id, scopes, used, revoked, expires_at, created_at, client_id, client_scopes, *user = row
    # what was taken from the client is taken from its tokens as well
    allowed = grants.read_scopes(scopes) & grants.read_scopes(client_scopes)
    user_id, disabled = user
    caller = users.caller_of(db, user_id, scopes=sorted(allowed), expires_at=expires_at)
    return Token(
        hash=token_hash,
        kind=kind,
        grant_id=grant_id,
        client_id=client_id,
        user=caller,
        user_disabled=bool(disabled),
        used=bool(used),
        revoked=bool(revoked),
        expires_at=expires_at,
        created_at=created_at,
        now=now,
    )


def authenticate(db: Reader, secret: str, now: int) -> Caller:
    """Who an access token stands for. Raises AuthenticationError when it is unknown, revoked or expired."""
    token = find(db, secret, now)
    if token is None or token.kind != "access":
        raise AuthenticationError("The access token is not known here.", code="invalid_token")
    if token.is_revoked():
        raise AuthenticationError("The access token was revoked.", code="invalid_token")
    if token.is_expired():
        raise AuthenticationError("The access token expired: ask for a new one.", code="invalid_token")
    return replace(token.user, grant_id=token.grant_id)


def use_up(tx: Transaction, token: Token) -> None:
    """A refresh token was turned into new tokens: it works no more."""
    tx.run("UPDATE oauth_tokens SET used_at = ? WHERE token_hash = ?", tx.now(), token.hash)


def revoke(tx: Transaction, token: Token) -> None:
    """End an access token, or with a refresh token everything of its grant (RFC 7009, 2.1).

    API keys end with either: which of the grant's tokens made a key is not kept.
    """
    if token.kind == "refresh":
        grants.end(tx, token.grant_id)
    else:
        keys.revoke_of_grant(tx, token.grant_id)
        tx.run("UPDATE oauth_tokens SET revoked_at = ? WHERE token_hash = ?", tx.now(), token.hash)
