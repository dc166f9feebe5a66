"""Private, shared or everyone's: who sees and changes what belongs to a user, as conditions of the query itself.

A table that can be shared has the columns `row_id`, `id`, `owner_id`, `name` and `visibility`. Lists, gets, searches
and totals put `visible_to` into their WHERE: what a caller may not see is never read, so nothing has to be hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.errors import Conflict, ValidationError
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import Reader, Transaction

OWNED = (Owned("shares", "user_id", "delete"),)

Visibility = Literal["private", "shared", "everyone"]
Access = Literal["read", "write"]

MOST_SHARES = 200


class Share(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """With whom, and for what: either a user or a group."""

    user_id: str | None = None
    group_id: str | None = None
    access: Access = "read"


@dataclass(frozen=True)
class Shareable:
    """A table that can be shared. `unique` are the columns in which no two of an owner, or of everyone's, agree."""

    table: str
    noun: str
    """For messages: `knowledge base`."""
    unique: tuple[str, ...] = ("name",)

    def owned(self) -> Owned:
        """Its declaration: handed over at a deletion that says to whom, under another name where theirs is taken."""
        return Owned(self.table, "owner_id", "transfer", remove=self._remove, move=self._move)

    def _remove(self, tx: Transaction, user_id: str) -> None:
        tx.run(
            f"DELETE FROM shares WHERE resource_id IN (SELECT id FROM {self.table} WHERE owner_id = ?)",  # noqa: S608
            user_id,
        )
        tx.run(f"DELETE FROM {self.table} WHERE owner_id = ?", user_id)  # noqa: S608 (a constant table)

    def _move(self, tx: Transaction, user_id: str, to: str) -> None:
        for column in self.unique:
            # the end of an id is unique as no counter is: a name with it was never given before
            tx.run(
                f"UPDATE {self.table} AS mine SET {column} = {column} || '-' || substr(id, -8)"  # noqa: S608 (constants)
                f" WHERE owner_id = ? AND EXISTS (SELECT 1 FROM {self.table} AS theirs"
                f" WHERE theirs.owner_id = ? AND theirs.{column} = mine.{column})",
                user_id,
                to,
            )
        tx.run(
            f"DELETE FROM shares WHERE user_id = ? AND resource_id IN (SELECT id FROM {self.table} WHERE owner_id = ?)",  # noqa: S608 (a constant table)
            to,
            user_id,
        )
        tx.run(f"UPDATE {self.table} SET owner_id = ? WHERE owner_id = ?", to, user_id)  # noqa: S608 (a constant table)


def visible_to(caller: Caller, kind: Shareable, access: Access = "read") -> tuple[str, tuple[Any, ...]]:
    """The condition under which the caller may read (or write) a row of `kind.table`, and its parameters.

    The table must stand in the query under its own name. Writing: the owner and those it is shared with for writing;
    what is everyone's is everyone's to read.
    """
    table = kind.table
    shared = (
        f"({table}.visibility = 'shared' AND {table}.id IN (SELECT resource_id FROM shares"  # noqa: S608 (a constant table)
        f" WHERE {'may_write = 1 AND ' if access == 'write' else ''}(user_id = ?"
        " OR group_id IN (SELECT group_id FROM group_members WHERE user_id = ?))))"
    )
    everyone = f" OR {table}.visibility = 'everyone'" if access == "read" else ""
    return f"({table}.owner_id = ?{everyone} OR {shared})", (caller.user_id,) * 3


def named(db: Reader, caller: Caller, kind: Shareable, column: str, value: str) -> str | None:
    """The id of what the caller means by a name or slug: their own first, then shared with them, then everyone's."""
    where, params = visible_to(caller, kind)
    found: str | None = db.value(
        f"SELECT id FROM {kind.table} WHERE {column} = ? AND {where}"  # noqa: S608 (constants of the rooms)
        " ORDER BY owner_id = ? DESC, visibility = 'shared' DESC, row_id LIMIT 1",
        value,
        *params,
        caller.user_id,
    )
    return found


def refuse_taken(
    db: Reader,
    kind: Shareable,
    owner_id: str,
    column: str,
    value: str,
    *,
    visibility: Visibility,
    except_id: str | None = None,
) -> None:
    """Raise Conflict when another of this owner, or for everyone's another of everyone's, has this name (or slug).

    Nothing else is said to be taken: whatever the answer is about, the owner can see. So only owners name things,
    also where others may write. Ask inside the write transaction, and also when only the visibility changes.
    """
    taken = db.value(
        f"SELECT id FROM {kind.table} WHERE {column} = ? AND id IS NOT ?"  # noqa: S608 (constants of the rooms)
        " AND (owner_id = ? OR (? = 'everyone' AND visibility = 'everyone')) LIMIT 1",
        value,
        except_id,
        owner_id,
        visibility,
    )
    if taken is not None:
        raise Conflict(
            f"Another {kind.noun} has the {column} '{value}' already.",
            field=column,
            constraint="unique",
            details={"id": taken},
        )


def shares_of(db: Reader, resource_id: str) -> list[Share]:
    """With whom a resource is shared, in the order in which it was. For its owner's eyes."""
    rows = db.all("SELECT user_id, group_id, may_write FROM shares WHERE resource_id = ? ORDER BY row_id", resource_id)
    return [Share(user_id=user, group_id=group, access="write" if write else "read") for user, group, write in rows]


def share(tx: Transaction, caller: Caller, resource_id: str, shares: Sequence[Share]) -> None:
    """Share a resource with these and nobody else. Raises ValidationError naming the first that can't be.

    Groups are those that the caller is a member of, or any for who administers users: others are as if they were not.
    """
    if len(shares) > MOST_SHARES:
        raise ValidationError(
            f"The 'shares' field must have at most {MOST_SHARES} items.", field="shares", constraint="max_items"
        )
    forget(tx, resource_id)
    for number, given in enumerate(shares):
        _check(tx, caller, given, f"shares.{number}")
        tx.run(
            "INSERT INTO shares (resource_id, user_id, group_id, may_write) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET may_write = MAX(may_write, excluded.may_write)",
            *(resource_id, given.user_id, given.group_id, given.access == "write"),
        )


def forget(tx: Transaction, resource_id: str) -> None:
    """Share a resource with nobody; also to be called when it is deleted."""
    tx.run("DELETE FROM shares WHERE resource_id = ?", resource_id)


def _check(db: Reader, caller: Caller, given: Share, field: str) -> None:
    if (given.user_id is None) == (given.group_id is None):
        raise ValidationError(
            f"The '{field}' field must name either a user or a group.", field=field, constraint="exclusive"
        )
    if given.user_id is not None:
        known = db.value("SELECT EXISTS (SELECT 1 FROM users WHERE id = ?)", given.user_id)
    else:
        known = db.value(
            "SELECT EXISTS (SELECT 1 FROM groups WHERE id = ?1 AND (?3 OR EXISTS"
            " (SELECT 1 FROM group_members WHERE group_id = ?1 AND user_id = ?2)))",
            *(given.group_id, caller.user_id, caller.may("users:admin")),
        )
    if not known:
        noun = "user" if given.user_id is not None else "group"
        raise ValidationError(f"There is no such {noun}.", field=f"{field}.{noun}_id", constraint="unknown")
