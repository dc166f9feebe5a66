"""Users: who they are, and what they may do."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec
from msgspec import UNSET

from secureai_appliance.accounts import groups
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.permissions import (
    ROLES,
    TIERS,
    Permissions,
    Role,
    Tier,
    checked,
    held_by,
)
from secureai_appliance.accounts.user_fields import Me, User, UserCreate, UserPatch, UserQuery
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import AuthenticationError, Conflict, NotFound, PermissionDenied, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.lines import is_line
from secureai_appliance.governance import audit, events, tiers
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.governance.events import UserCreated, UserRoleChanged
from secureai_appliance.governance.ownership import Ownership
from secureai_appliance.governance.tiers import Overrides
from secureai_appliance.store import ListSpec, Page, Reader, Transaction, UniqueViolation, list_page

# RFC 5321's length, and no more grammar than "something@something": addresses are names here, nothing is mailed
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
_COLUMNS = (
    "id, email, name, role, tier, disabled, granted, denied, limits, created_at, updated_at,"
    " (SELECT json_group_array(group_id) FROM"
    " (SELECT group_id FROM group_members WHERE user_id = users.id ORDER BY group_id))"
)

_IN_GROUP = "id IN (SELECT user_id FROM group_members WHERE group_id = ?)"


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
    _check(email, name, role, tier)
    user_id, now = new_id("usr"), tx.now()
    try:
        tx.run(
            "INSERT INTO users (id, email, name, role, tier, password_hash, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(user_id, email, name, role, tier, password_hash, now, now),
        )
    except UniqueViolation as cause:
        raise _taken(email) from cause
    audit.record(tx, actor, "user.created", "user", user_id, details={"role": role, "tier": tier})
    events.emit(tx, UserCreated(user_id=user_id, email=email, role=role))
    return get(tx, user_id)


def add(tx: Transaction, caller: Caller, body: UserCreate) -> User:
    """Add a user with everything about them. Raises what `create` raises, and PermissionDenied for rights beyond the
    caller's reach."""
    made = create(tx, email=body.email, name=body.name, role=body.role, tier=body.tier, actor=caller.actor)
    _set_permissions(tx, made.id, granted=body.permissions.granted, denied=body.permissions.denied)
    _set_limits(tx, made.id, body.limits)
    groups.set_of(tx, made.id, body.groups)
    caller.require_reach(rights(tx, made.id))
    return get(tx, made.id)


def get(db: Reader, user_id: str) -> User:
    """The user with this id. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM users WHERE id = ?", user_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such user.")
    return _user(row)


def require_active(tx: Transaction, user_id: str) -> None:
    """Raise AuthenticationError when the user was deleted or disabled since they were let in."""
    if tx.value("SELECT 1 FROM users WHERE id = ? AND NOT disabled", user_id) is None:
        raise AuthenticationError("The user of this credential was deleted or disabled.", code="invalid_api_key")


def by_email(db: Reader, email: str) -> User:
    """The user with this address, in any case of letters. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM users WHERE email = ?", email)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound(f"There is no user {email}.")
    return _user(row)


def list_(db: Reader, query: UserQuery, *, member_of: str | None = None) -> Page[User]:
    """A page of all users, or of a group's members, for those who may read users."""
    terms: list[str] = []
    params: list[Any] = []
    for term, value in (
        ("role = ?", query.role),
        ("tier = ?", query.tier),
        ("disabled = ?", query.disabled),
        (_IN_GROUP, query.group),
        (_IN_GROUP, member_of),
    ):
        if value is not None:
            terms.append(term)
            params.append(value)
    return list_page(db, _LIST, query, where=" AND ".join(terms), params=tuple(params))


def patch(tx: Transaction, caller: Caller, ownership: Ownership, user_id: str, body: UserPatch) -> User:
    """Change a user; it counts from the next request on, through keys, sessions and tokens too.

    Disabling ends sessions, links and tokens for good, and keys for as long as it lasts. Raises NotFound, Conflict for
    a taken address and for the last administrator, PermissionDenied for rights beyond the caller's reach, and for the
    caller's own tier and limits.
    """
    before = get(tx, user_id)
    caller.require_reach(rights(tx, user_id))
    _refuse_own_limits(caller, before, body)
    _update(tx, before, body)
    caller.require_reach(rights(tx, user_id))
    _require_administrator(tx)
    after = get(tx, user_id)
    if after.disabled and not before.disabled:
        ownership.end_credentials(tx, user_id)
    _record(tx, caller.actor, before, after, body)
    return after


def delete(tx: Transaction, caller: Caller, ownership: Ownership, user_id: str, transfer_to: str | None) -> None:
    """Delete a user and what is theirs, or hand it over to `transfer_to`.

    Raises NotFound, ValidationError for a `transfer_to` that can't get anything, Conflict for the last administrator,
    PermissionDenied for rights beyond the caller's reach.
    """
    get(tx, user_id)
    caller.require_reach(rights(tx, user_id))
    if transfer_to is not None:
        heir = tx.one("SELECT disabled FROM users WHERE id = ? AND id <> ?", transfer_to, user_id)
        if heir is None or heir[0]:
            raise ValidationError(
                "The 'transfer_to' parameter must be another user who is not disabled.",
                field="transfer_to",
                constraint="unknown",
            )
    ownership.give_up(tx, user_id, transfer_to)
    tx.run("DELETE FROM users WHERE id = ?", user_id)
    _require_administrator(tx)
    audit.record(tx, caller.actor, "user.deleted", "user", user_id, details={"transfer_to": transfer_to})


def rights(db: Reader, user_id: str) -> frozenset[str]:
    """What a user may do now, by role, groups and their own permissions. Raises NotFound."""
    row = db.one("SELECT role, granted, denied FROM users WHERE id = ?", user_id)
    if row is None:
        raise NotFound("There is no such user.")
    role, granted, denied = row
    granted, denied = _names(granted), _names(denied)
    for more, less in db.all(
        "SELECT g.granted, g.denied FROM group_members m JOIN groups g ON g.id = m.group_id WHERE m.user_id = ?",
        user_id,
    ):
        granted += _names(more)
        denied += _names(less)
    return held_by(role, granted, denied)


def me(db: Reader, caller: Caller) -> Me:
    """The caller."""
    fields = msgspec.structs.asdict(get(db, caller.user_id))
    fields |= {"groups": groups.names_of(db, caller.user_id), "permissions": sorted(caller.permissions)}
    return Me(**fields, key_id=caller.key_id)


def caller_of(
    db: Reader,
    user_id: str,
    *,
    key_id: str | None = None,
    session_id: str | None = None,
    grant_id: str | None = None,
    scopes: list[str] | None = None,
    expires_at: int | None = None,
    models: list[str] | None = None,
    addresses: list[str] | None = None,
    command: str = "",
) -> Caller:
    """A user through a credential, with what is left of their rights by `scopes` (None: all). Raises NotFound.

    `command`: on the server's own command line, which one. Whether the user is disabled is asked before.
    """
    row = db.one("SELECT email, role, tier, limits FROM users WHERE id = ?", user_id)
    if row is None:
        raise NotFound("There is no such user.")
    email, role, tier, limits = row
    held = rights(db, user_id)
    return Caller(
        user_id=user_id,
        email=email,
        role=role,
        tier=tier,
        limits=None if limits is None else tiers.read(user_id, limits),
        permissions=held if scopes is None else held & frozenset(scopes),
        key_id=key_id,
        session_id=session_id,
        grant_id=grant_id,
        restricted=scopes is not None,
        expires_at=expires_at,
        models=None if models is None else frozenset(models),
        addresses=None if addresses is None else tuple(addresses),
        command=command,
    )


def _check(email: str, name: str, role: str, tier: str) -> None:
    if not _EMAIL.fullmatch(email):
        raise ValidationError("The 'email' field must be an e-mail address.", field="email", constraint="format")
    if not 1 <= len(name) <= 200 or name != name.strip() or not is_line(name):
        raise ValidationError("A name has 1 to 200 printable characters.", field="name", constraint="length")
    if role not in ROLES:
        raise ValidationError(f"The role must be one of {', '.join(ROLES)}.", field="role", constraint="enum")
    if tier not in TIERS:
        raise ValidationError(f"The tier must be one of {', '.join(TIERS)}.", field="tier", constraint="enum")


def _taken(email: str) -> Conflict:
    return Conflict(f"There is a user {email} already.", field="email", constraint="unique")


def _update(tx: Transaction, before: User, body: UserPatch) -> None:
    email, name, role, tier, disabled = (
        getattr(before if getattr(body, field) is UNSET else body, field)
        for field in ("email", "name", "role", "tier", "disabled")
    )
    _check(email, name, role, tier)
    try:
        tx.run(
            "UPDATE users SET email = ?, name = ?, role = ?, tier = ?, disabled = ?, updated_at = ? WHERE id = ?",
            *(email, name, role, tier, disabled, tx.now(), before.id),
        )
    except UniqueViolation as cause:
        raise _taken(email) from cause
    if body.permissions is not UNSET:
        given = body.permissions
        _set_permissions(
            tx,
            before.id,
            granted=before.permissions.granted if given.granted is UNSET else given.granted,
            denied=before.permissions.denied if given.denied is UNSET else given.denied,
        )
    if body.limits is not UNSET:
        _set_limits(tx, before.id, body.limits)
    if body.groups is not UNSET:
        groups.set_of(tx, before.id, body.groups)


def _refuse_own_limits(caller: Caller, before: User, body: UserPatch) -> None:
    """Whoever administers users without being an administrator sets no limits for themselves."""
    if caller.role == "admin" or before.id != caller.user_id:
        return
    for field in ("tier", "limits"):
        if getattr(body, field) not in {UNSET, getattr(before, field)}:
            raise PermissionDenied(f"Only an administrator changes their own {field}.", field=field)


def _set_permissions(tx: Transaction, user_id: str, *, granted: list[str], denied: list[str]) -> None:
    tx.run(
        "UPDATE users SET granted = ?, denied = ? WHERE id = ?",
        _json(checked(granted, "permissions.granted")),
        _json(checked(denied, "permissions.denied")),
        user_id,
    )


def _set_limits(tx: Transaction, user_id: str, limits: Overrides | None) -> None:
    tx.run("UPDATE users SET limits = ? WHERE id = ?", None if limits is None else _json(limits), user_id)


def _require_administrator(tx: Transaction) -> None:
    if not tx.value("SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND NOT disabled)"):
        raise Conflict(
            "This is the last administrator: make another one first.", field="role", constraint="last_administrator"
        )


def _record(tx: Transaction, actor: Actor, before: User, after: User, body: UserPatch) -> None:
    if before.role != after.role:
        details = {"old_role": before.role, "new_role": after.role}
        audit.record(tx, actor, "user.role_changed", "user", after.id, details=details)
        events.emit(
            tx,
            UserRoleChanged(user_id=after.id, old_role=before.role, new_role=after.role, changed_by=actor.user_id),
        )
    if before.disabled != after.disabled:
        audit.record(tx, actor, "user.disabled" if after.disabled else "user.enabled", "user", after.id)
    named = [field for field in body.__struct_fields__ if getattr(body, field) is not UNSET]
    fields = [field for field in named if field not in {"role", "disabled"}]
    # a role that they have already leaves a row too: the time of the change is another
    if fields or (before.role, before.disabled) == (after.role, after.disabled):
        audit.record(tx, actor, "user.updated", "user", after.id, details={"fields": fields})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _names(text: str) -> list[str]:
    return msgspec.json.decode(text, type=list[str])


def _user(row: tuple[Any, ...]) -> User:
    user_id, email, name, role, tier, disabled, granted, denied, limits, created_at, updated_at, members = row
    return User(
        id=user_id,
        email=email,
        name=name,
        role=cast(Role, role),
        tier=cast(Tier, tier),
        groups=_names(members),
        permissions=Permissions(granted=_names(granted), denied=_names(denied)),
        disabled=bool(disabled),
        limits=None if limits is None else tiers.read(user_id, limits),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_LIST: ListSpec[User] = ListSpec(
    columns=_COLUMNS,
    source="users",
    sortable={"created_at": "created_at", "email": "email", "name": "name"},
    search=("email", "name"),
    read=_user,
)
