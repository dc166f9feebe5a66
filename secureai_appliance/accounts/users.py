"""Users: who they are, their role and tier."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.permissions import ROLE_PERMISSIONS, ROLES, TIERS, Role, Tier
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.store import Reader, Transaction, UniqueViolation

# RFC 5321's length, and no more grammar than "something@something": addresses are names here, nothing is mailed
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_COLUMNS = "id, email, name, role, tier, disabled, created_at, updated_at"


class User(msgspec.Struct, kw_only=True):
    """A person or service that may ask."""

    id: str
    email: str
    name: str
    role: Role
    tier: Tier
    disabled: bool
    created_at: str
    updated_at: str


class Me(User, kw_only=True):
    """A user as seen by themselves: with the rights that this credential leaves them."""

    permissions: list[str]
    key_id: str | None


def create(
    tx: Transaction,
    *,
    email: str,
    name: str,
    role: str,
    tier: str = "standard",
    password_hash: str | None = None,
    actor: Actor = SYSTEM,
) -> User:
    """Add a user. Raises ValidationError for a bad value, Conflict when the address is taken."""
    if not _EMAIL.fullmatch(email):
        raise ValidationError(f"'{email}' is not an e-mail address.", field="email", constraint="format")
    if not 1 <= len(name) <= 200 or name != name.strip() or not name.isprintable():
        raise ValidationError("A name has 1 to 200 printable characters.", field="name", constraint="length")
    if role not in ROLES:
        raise ValidationError(f"The role must be one of {', '.join(ROLES)}.", field="role", constraint="enum")
    if tier not in TIERS:
        raise ValidationError(f"The tier must be one of {', '.join(TIERS)}.", field="tier", constraint="enum")
    user_id, now = new_id("usr"), tx.now()
    try:
        tx.run(
            "INSERT INTO users (id, email, name, role, tier, password_hash, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(user_id, email, name, role, tier, password_hash, now, now),
        )
    except UniqueViolation as cause:
        raise Conflict(f"There is a user {email} already.", field="email", constraint="unique") from cause
    audit.record(tx, actor, "user.created", "user", user_id, details={"role": role, "tier": tier})
    return get(tx, user_id)


def get(db: Reader, user_id: str) -> User:
    """The user with this id. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM users WHERE id = ?", user_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such user.")
    return _user(row)


def by_email(db: Reader, email: str) -> User:
    """The user with this address, in any case of letters. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM users WHERE email = ?", email)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound(f"There is no user {email}.")
    return _user(row)


def me(db: Reader, caller: Caller) -> Me:
    """The caller."""
    user = get(db, caller.user_id)
    return Me(**msgspec.structs.asdict(user), permissions=sorted(caller.permissions), key_id=caller.key_id)


def caller_of(
    user_id: str,
    email: str,
    role: str,
    tier: str,
    *,
    key_id: str | None = None,
    session_id: str | None = None,
    scopes: list[str] | None = None,
    expires_at: int | None = None,
    command: str = "",
) -> Caller:
    """What a user may do through a credential with `scopes` (None: everything that the role gives).

    `command`: on the server's own command line, which one.
    """
    held = ROLE_PERMISSIONS[role]
    return Caller(
        user_id=user_id,
        email=email,
        role=role,
        tier=tier,
        permissions=held if scopes is None else held & frozenset(scopes),
        key_id=key_id,
        session_id=session_id,
        restricted=scopes is not None,
        expires_at=expires_at,
        command=command,
    )


def _user(row: tuple[Any, ...]) -> User:
    user_id, email, name, role, tier, disabled, created_at, updated_at = row
    return User(
        id=user_id,
        email=email,
        name=name,
        role=role,
        tier=tier,
        disabled=bool(disabled),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )
