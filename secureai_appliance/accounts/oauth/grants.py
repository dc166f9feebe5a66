"""What a user allowed a client: the family of all tokens that came of it, which ends as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from secureai_appliance.accounts import keys
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.ids import new_id
from secureai_appliance.governance import audit
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

OWNED = (
    # a client that acts as a user goes with them, and stays while they are disabled
    Owned("oauth_clients", "user_id", "delete"),
    Owned("oauth_grants", "user_id", "delete", credential=True),
    Owned("oauth_codes", "user_id", "delete", credential=True),
    Owned("oauth_devices", "user_id", "delete", credential=True),
)

Kind = Literal["code", "device", "client"]
_COLUMNS = "g.id, g.client_id, c.name, g.scopes, g.expires_at, g.created_at, g.updated_at"
_SOURCE = "oauth_grants g JOIN oauth_clients c ON c.id = g.client_id"
# what a client does under its own name is no user's to see here
_OWN = "g.user_id = ? AND g.kind != 'client' AND g.revoked_at IS NULL"
_SWEPT_AT_ONCE = 20


class Authorization(msgspec.Struct, kw_only=True):
    """A program that may act for the user, until `expires_at` unless it asks again before."""

    id: str
    client_id: str
    client_name: str
    scopes: list[str]
    expires_at: str
    created_at: str
    updated_at: str


def create(tx: Transaction, client_id: str, user_id: str, *, kind: Kind, scopes: Iterable[str], expires_at: int) -> str:
    """A new grant's id."""
    grant_id, now = new_id("grant"), tx.now()
    sweep(tx, tx.wall())
    tx.run(
        "INSERT INTO oauth_grants (id, client_id, user_id, kind, scopes, expires_at, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(grant_id, client_id, user_id, kind, scopes_json(scopes), expires_at, now, now),
    )
    return grant_id


def extend(tx: Transaction, grant_id: str, expires_at: int) -> None:
    """The grant was used again: it lasts as long as its newest token."""
    tx.run("UPDATE oauth_grants SET expires_at = ?, updated_at = ? WHERE id = ?", expires_at, tx.now(), grant_id)


def end(tx: Transaction, grant_id: str) -> bool:
    """End every token of a grant and the keys that were made with them, now; False when they have ended already."""
    now = tx.now()
    keys.revoke_of_grant(tx, grant_id)
    return bool(
        tx.run(
            "UPDATE oauth_grants SET revoked_at = ?, updated_at = ? WHERE id = ? AND revoked_at IS NULL",
            *(now, now, grant_id),
        )
    )


def get(db: Reader, caller: Caller, grant_id: str, now: int) -> Authorization:
    """One of the caller's. Raises NotFound."""
    row = db.one(
        f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE {_OWN} AND g.expires_at > ? AND g.id = ?",  # noqa: S608 (constant)
        *(caller.user_id, now, grant_id),
    )
    if row is None:
        raise NotFound("There is no such authorization.")
    return _authorization(row)


def list_(db: Reader, caller: Caller, query: ListQuery, now: int) -> Page[Authorization]:
    """A page of what the caller allowed and that still holds."""
    return list_page(db, _LIST, query, where=f"{_OWN} AND g.expires_at > ?", params=(caller.user_id, now))


def revoke(tx: Transaction, caller: Caller, grant_id: str) -> None:
    """End one of the caller's. Raises NotFound."""
    details = {"client_id": get(tx, caller, grant_id, tx.wall()).client_id}
    end(tx, grant_id)
    audit.record(tx, caller.actor, "authorization.revoked", "authorization", grant_id, details=details)


def scopes_json(scopes: Iterable[str]) -> str:
    """Scopes as they are stored."""
    return msgspec.json.encode(sorted(scopes)).decode()


def read_scopes(text: str) -> frozenset[str]:
    """Scopes as they were stored."""
    return frozenset(msgspec.json.decode(text, type=list[str]))


def sweep(tx: Transaction, now: int) -> bool:
    """Forget what has expired, some at a time; whether there is more."""
    more = False
    # more may go than come, so that nothing else has to sweep, yet never all at once; tokens go with their grants
    for table, key in (
        ("oauth_grants", "row_id"),
        ("oauth_tokens", "token_hash"),
        ("oauth_codes", "code_hash"),
        ("oauth_devices", "device_hash"),
    ):
        gone = tx.run(
            f"DELETE FROM {table} WHERE {key} IN"  # noqa: S608 (constant names)
            f" (SELECT {key} FROM {table} WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
            *(now, _SWEPT_AT_ONCE),
        )
        more = more or gone == _SWEPT_AT_ONCE
    return more


def _authorization(row: tuple[Any, ...]) -> Authorization:
    grant_id, client_id, name, scopes, expires_at, created_at, updated_at = row
    return Authorization(
        id=grant_id,
        client_id=client_id,
        client_name=name,
        scopes=sorted(read_scopes(scopes)),
        expires_at=rfc3339(expires_at),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_LIST: ListSpec[Authorization] = ListSpec(
    columns=_COLUMNS,
    source=_SOURCE,
    read=_authorization,
    sortable={"created_at": "g.created_at", "client_name": "c.name"},
    row_id="g.row_id",
    created_at="g.created_at",
)
