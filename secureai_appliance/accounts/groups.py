"""Groups of users: to share with, and to grant or deny permissions to several at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.permissions import Permissions, PermissionsPatch, checked
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.lines import is_line
from secureai_appliance.governance import audit
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, UniqueViolation, list_page

OWNED = (Owned("group_members", "user_id", "delete"),)

_COLUMNS = (
    "id, name, description, granted, denied, created_at, updated_at,"
    " (SELECT COUNT(*) FROM group_members WHERE group_id = groups.id)"
)

Ids = Annotated[list[str], Meta(max_length=100)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Description = Annotated[str, Meta(max_length=1000)]


class Group(msgspec.Struct, kw_only=True):
    """A group. `permissions` are granted and denied to all of its members."""

    id: str
    name: str
    description: str
    permissions: Permissions
    member_count: int
    created_at: str
    updated_at: str


class GroupName(msgspec.Struct, kw_only=True):
    """A group as its members see it."""

    id: str
    name: str


class GroupCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new group."""

    name: Name
    description: Description = ""
    permissions: Permissions = msgspec.field(default_factory=Permissions)


class GroupPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a group; what is left out stays."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    permissions: PermissionsPatch | UnsetType = UNSET


class MembersAdd(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Users who become members; who is one already stays one."""

    user_ids: Annotated[list[str], Meta(min_length=1, max_length=1000)]


def create(tx: Transaction, caller: Caller, body: GroupCreate) -> Group:
    """Make a group without members. Raises Conflict for a taken name, PermissionDenied for a permission that the caller
    can't give."""
    _check_name(body.name)
    granted, denied = _checked(body.permissions)
    caller.require_reach(frozenset(granted) | frozenset(denied))
    group_id, now = new_id("grp"), tx.now()
    try:
        tx.run(
            "INSERT INTO groups (id, name, description, granted, denied, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(group_id, body.name, body.description, _json(granted), _json(denied), now, now),
        )
    except UniqueViolation as cause:
        raise _taken() from cause
    audit.record(tx, caller.actor, "group.created", "group", group_id, details={"granted": granted, "denied": denied})
    return get(tx, group_id)


def get(db: Reader, group_id: str) -> Group:
    """One group, for those who may read users. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM groups WHERE id = ?", group_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such group.")
    return _group(row)


def list_(db: Reader, query: ListQuery) -> Page[Group]:
    """A page of all groups."""
    return list_page(db, _LIST, query)


def patch(tx: Transaction, caller: Caller, group_id: str, body: GroupPatch) -> Group:
    """Change a group; its permissions count for its members from their next request on. Raises what `create` raises."""
    before = get(tx, group_id)
    name = before.name if body.name is UNSET else body.name
    description = before.description if body.description is UNSET else body.description
    _check_name(name)
    given = PermissionsPatch() if body.permissions is UNSET else body.permissions
    granted, denied = _checked(
        Permissions(
            granted=before.permissions.granted if given.granted is UNSET else given.granted,
            denied=before.permissions.denied if given.denied is UNSET else given.denied,
        )
    )
    # either way: what is no longer denied may come back to a member, what is no longer granted is taken
    caller.require_reach(
        frozenset(granted).symmetric_difference(before.permissions.granted)
        | frozenset(denied).symmetric_difference(before.permissions.denied)
    )
    try:
        tx.run(
            "UPDATE groups SET name = ?, description = ?, granted = ?, denied = ?, updated_at = ? WHERE id = ?",
            *(name, description, _json(granted), _json(denied), tx.now(), group_id),
        )
    except UniqueViolation as cause:
        raise _taken() from cause
    audit.record(tx, caller.actor, "group.updated", "group", group_id, details={"granted": granted, "denied": denied})
    return get(tx, group_id)


def delete(tx: Transaction, caller: Caller, group_id: str) -> None:
    """Delete a group; nothing is shared with it any more. Raises NotFound, PermissionDenied."""
    caller.require_reach(_touched(get(tx, group_id)))
    tx.run("DELETE FROM groups WHERE id = ?", group_id)
    audit.record(tx, caller.actor, "group.deleted", "group", group_id)


def add_members(tx: Transaction, caller: Caller, group_id: str, user_ids: list[str]) -> Group:
    """Make users members. Raises NotFound, ValidationError for a missing user, PermissionDenied for a group that grants
    or denies what the caller can't."""
    caller.require_reach(_touched(get(tx, group_id)))
    for number, user_id in enumerate(user_ids):
        if not tx.value("SELECT EXISTS (SELECT 1 FROM users WHERE id = ?)", user_id):
            raise ValidationError("There is no such user.", field=f"user_ids.{number}", constraint="unknown")
        if _join(tx, group_id, user_id):
            audit.record(tx, caller.actor, "group.member_added", "group", group_id, details={"user_id": user_id})
    return get(tx, group_id)


def remove_member(tx: Transaction, caller: Caller, group_id: str, user_id: str) -> None:
    """End a membership. Raises NotFound for a group or a member that is not there, PermissionDenied."""
    caller.require_reach(_touched(get(tx, group_id)))
    if not tx.run("DELETE FROM group_members WHERE group_id = ? AND user_id = ?", group_id, user_id):
        raise NotFound("The group has no such member.")
    audit.record(tx, caller.actor, "group.member_removed", "group", group_id, details={"user_id": user_id})


def set_of(tx: Transaction, user_id: str, group_ids: list[str]) -> None:
    """Make the user a member of these groups and of no other. Raises ValidationError for a missing one."""
    tx.run("DELETE FROM group_members WHERE user_id = ?", user_id)
    for number, group_id in enumerate(group_ids):
        if not tx.value("SELECT EXISTS (SELECT 1 FROM groups WHERE id = ?)", group_id):
            raise ValidationError("There is no such group.", field=f"groups.{number}", constraint="unknown")
        _join(tx, group_id, user_id)


def names_of(db: Reader, user_id: str) -> list[GroupName]:
    """The groups of a user, by name."""
    rows = db.all(
        "SELECT g.id, g.name FROM group_members m JOIN groups g ON g.id = m.group_id WHERE m.user_id = ?"
        " ORDER BY g.name",
        user_id,
    )
    return [GroupName(id=group_id, name=name) for group_id, name in rows]


def _touched(group: Group) -> frozenset[str]:
    """What a member has more or less than others."""
    return frozenset(group.permissions.granted) | frozenset(group.permissions.denied)


def _join(tx: Transaction, group_id: str, user_id: str) -> bool:
    return bool(
        tx.run("INSERT INTO group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING", group_id, user_id)
    )


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= 100 or name != name.strip() or not is_line(name):
        raise ValidationError("A name has 1 to 100 printable characters.", field="name", constraint="format")


def _checked(given: Permissions) -> tuple[list[str], list[str]]:
    return checked(given.granted, "permissions.granted"), checked(given.denied, "permissions.denied")


def _taken() -> Conflict:
    return Conflict("There is a group of this name already.", field="name", constraint="unique")


def _json(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()


def _group(row: tuple[Any, ...]) -> Group:
    group_id, name, description, granted, denied, created_at, updated_at, members = row
    return Group(
        id=group_id,
        name=name,
        description=description,
        permissions=Permissions(
            granted=msgspec.json.decode(granted, type=list[str]), denied=msgspec.json.decode(denied, type=list[str])
        ),
        member_count=members,
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_LIST: ListSpec[Group] = ListSpec(
    columns=_COLUMNS,
    source="groups",
    sortable={"created_at": "created_at", "name": "name"},
    search=("name", "description"),
    read=_group,
)
