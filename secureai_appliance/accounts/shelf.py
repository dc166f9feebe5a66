"""What belongs to a user and can be shared, read and changed in one way: prompts, assistants, tools.

A noun says which columns it has besides those of every shareable thing, and how they become its struct; access, names,
shares and the audit log are looked after here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import Share, Shareable, Visibility
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound, PermissionDenied, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.lines import is_line
from secureai_appliance.governance import audit
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Row, Transaction, list_page

_SHARES = (
    "(SELECT json_group_array(json_object('user_id', user_id, 'group_id', group_id,"
    " 'access', iif(may_write, 'write', 'read')) ORDER BY row_id) FROM shares WHERE resource_id = {table}.id)"
)
_SLUG_LENGTH = 60

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Slug = Annotated[str, Meta(pattern="^[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?$")]
Shares = Annotated[list[Share], Meta(max_length=sharing.MOST_SHARES)]


class Possession(msgspec.Struct, kw_only=True):
    """What every shareable thing has. `shares` are for the owner's eyes: null for everybody else."""

    id: str
    owner_id: str
    name: str
    visibility: Visibility
    shares: list[Share] | None
    created_at: str
    updated_at: str


class ShelfQuery(ListQuery, kw_only=True):
    """What these lists take: `visibility`, and `name` as it is written."""

    visibility: Visibility | None = None
    name: Annotated[str, Meta(max_length=100)] | None = None


P = TypeVar("P", bound=Possession)


class Shelf(Generic[P]):
    """One noun. `read` makes its struct of the fields of Possession and the row of `columns`."""

    def __init__(
        self,
        kind: Shareable,
        prefix: str,
        columns: Sequence[str],
        read: Callable[[dict[str, Any], Row], P],
        *,
        search: Sequence[str] = ("name",),
    ) -> None:
        self.kind = kind
        self._prefix = prefix
        self._read = read
        table = kind.table
        common = f"{table}.id, {table}.owner_id, {table}.name, {table}.visibility, {_SHARES.format(table=table)}"
        own = ", ".join(f"{table}.{column}" for column in columns)
        self._columns = f"{common}, {table}.created_at, {table}.updated_at, {own}"
        self._search = tuple(f"{table}.{column}" for column in search)

    def get(self, db: Reader, caller: Caller, thing_id: str) -> P:
        """The one with this id that the caller may read. Raises NotFound."""
        where, params = sharing.visible_to(caller, self.kind)
        row = db.one(
            f"SELECT {self._columns} FROM {self.kind.table} WHERE id = ? AND {where}",  # noqa: S608 (constants)
            thing_id,
            *params,
        )
        if row is None:
            raise NotFound(f"There is no such {self.kind.noun}.")
        return self._made(caller, row)

    def find(self, db: Reader, caller: Caller, name: str, column: str = "slug") -> P | None:
        """The one that the caller means by an id or a slug: their own first, then shared with them, then everyone's."""
        by_name = sharing.named(db, caller, self.kind, column, name)
        for thing_id in (name, by_name):
            if thing_id is not None:
                try:
                    return self.get(db, caller, thing_id)
                except NotFound:
                    continue
        return None

    def list_(
        self, db: Reader, caller: Caller, query: ShelfQuery, where: Sequence[str] = (), params: Sequence[Any] = ()
    ) -> Page[P]:
        """A page of those that the caller may read; `where` are constant conditions with their `params`."""
        visible, values = sharing.visible_to(caller, self.kind)
        conditions = [visible, *where]
        given = [*values, *params]
        for column in ("visibility", "name"):
            if (value := getattr(query, column)) is not None:
                conditions.append(f"{self.kind.table}.{column} = ?")
                given.append(value)
        table = self.kind.table
        spec: ListSpec[P] = ListSpec(
            columns=self._columns,
            source=table,
            read=lambda row: self._made(caller, row),
            sortable={name: f"{table}.{name}" for name in ("created_at", "updated_at", "name")},
            search=self._search,
            row_id=f"{table}.row_id",
            created_at=f"{table}.created_at",
        )
        return list_page(db, spec, query, where=" AND ".join(conditions), params=tuple(given))

    def add(
        self,
        tx: Transaction,
        caller: Caller,
        values: Mapping[str, Any],
        *,
        visibility: Visibility,
        shares: Sequence[Share],
        thing_id: str | None = None,
    ) -> P:
        """A new one of the caller's. Raises Conflict for a name that is taken, ValidationError."""
        thing_id, now, table = thing_id or new_id(self._prefix), tx.now(), self.kind.table
        _check_name(values["name"])
        for column in self.kind.unique:
            sharing.refuse_taken(tx, self.kind, caller.user_id, column, values[column], visibility=visibility)
        row = {
            "id": thing_id,
            "owner_id": caller.user_id,
            "visibility": visibility,
            "created_at": now,
            "updated_at": now,
            **values,
        }
        places = ", ".join("?" * len(row))
        tx.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())  # noqa: S608 (constants)
        _share(tx, caller, thing_id, visibility, shares)
        self._record(tx, caller, "created", thing_id, {"visibility": visibility, "shares": len(shares)})
        return self.get(tx, caller, thing_id)

    def change(
        self,
        tx: Transaction,
        caller: Caller,
        current: P,
        values: Mapping[str, Any],
        *,
        visibility: Visibility | UnsetType = UNSET,
        shares: Sequence[Share] | UnsetType = UNSET,
    ) -> P:
        """Change one that the caller can read. Raises PermissionDenied for who may only read it, and what `add` raises.

        Names, visibility and shares are the owner's alone.
        """
        fields = sorted([*values, *(["visibility"] if visibility is not UNSET else [])])
        fields += ["shares"] if shares is not UNSET else []
        self._require_write(tx, caller, current, fields)
        shown = current.visibility if visibility is UNSET else visibility
        if "name" in values:
            _check_name(values["name"])
        for column in self.kind.unique:
            value = values.get(column, getattr(current, column))
            if column in values or shown != current.visibility:
                sharing.refuse_taken(
                    tx, self.kind, current.owner_id, column, value, visibility=shown, except_id=current.id
                )
        changed = {**values, "visibility": shown, "updated_at": tx.now()}
        assigned = ", ".join(f"{column} = ?" for column in changed)
        tx.run(f"UPDATE {self.kind.table} SET {assigned} WHERE id = ?", *changed.values(), current.id)  # noqa: S608 (constants)
        if shares is not UNSET or visibility is not UNSET:
            kept = (current.shares or []) if shown == "shared" else []
            _share(tx, caller, current.id, shown, kept if shares is UNSET else shares)
        self._record(tx, caller, "updated", current.id, {"fields": fields, "visibility": shown})
        return self.get(tx, caller, current.id)

    def delete(self, tx: Transaction, caller: Caller, current: P, details: audit.Details | None = None) -> None:
        """Remove one of the caller's own; `details` for the audit log. Raises PermissionDenied for another's."""
        if current.owner_id != caller.user_id:
            raise PermissionDenied(f"Only its owner can delete the {self.kind.noun}.")
        sharing.forget(tx, current.id)
        tx.run(f"DELETE FROM {self.kind.table} WHERE id = ?", current.id)  # noqa: S608 (a constant table)
        self._record(tx, caller, "deleted", current.id, details or {})

    def _made(self, caller: Caller, row: Row) -> P:
        thing_id, owner_id, name, visibility, shares, created_at, updated_at = row[:7]
        common = {
            "id": thing_id,
            "owner_id": owner_id,
            "name": name,
            "visibility": visibility,
            "shares": msgspec.json.decode(shares, type=list[Share]) if owner_id == caller.user_id else None,
            "created_at": rfc3339(created_at),
            "updated_at": rfc3339(updated_at),
        }
        return self._read(common, row[7:])

    def _require_write(self, db: Reader, caller: Caller, current: P, fields: Sequence[str]) -> None:
        if current.owner_id == caller.user_id:
            return
        where, params = sharing.visible_to(caller, self.kind, "write")
        table = self.kind.table
        if not db.value(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE id = ? AND {where})", current.id, *params):  # noqa: S608 (constants)
            raise PermissionDenied(f"The {self.kind.noun} is shared with you for reading only.")
        owners = {*self.kind.unique, "visibility", "shares"} & set(fields)
        if owners:
            raise PermissionDenied(
                f"Only its owner can change the '{min(owners)}' of the {self.kind.noun}.", field=min(owners)
            )

    def _record(self, tx: Transaction, caller: Caller, what: str, thing_id: str, details: audit.Details) -> None:
        noun = self.kind.noun.replace(" ", "_")
        audit.record(tx, caller.actor, f"{noun}.{what}", noun, thing_id, details=details)


def slug_of(name: str, prefix: str) -> str:
    """A slug made of a name: `Brake advice (EU)` `brake-advice-eu`; by chance where it has no such letters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-") or new_id(prefix).lower()


def json_text(value: object) -> str:
    """What a column of JSON holds."""
    return msgspec.json.encode(value).decode()


def _check_name(name: str) -> None:
    if not is_line(name) or name != name.strip():
        raise ValidationError(
            "The 'name' field must have 1 to 100 printable characters.", field="name", constraint="format"
        )


def _share(tx: Transaction, caller: Caller, thing_id: str, visibility: Visibility, shares: Sequence[Share]) -> None:
    if visibility != "shared" and shares:
        raise ValidationError(
            "Only what has the visibility 'shared' has 'shares'.", field="shares", constraint="visibility"
        )
    sharing.share(tx, caller, thing_id, shares)
