"""The audit log: who did what to what, and how it went. One row in the transaction of the change, chained to the last.

Details hold ids, counts and words of ours, never what somebody typed: a secret that was pasted into the wrong field
must not end up in a log that nobody can clear.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.ids import new_id
from secureai_appliance.governance import chain
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Store, Transaction, list_page

Outcome = Literal["success", "failure", "denied"]
Details = Mapping[str, str | int | bool | list[str] | None]

_MOST_DETAILS = 4096


class Actor(NamedTuple):
    """Who acts: a user through a key (or a session of the pages: no key) from an address; all None for the system."""

    user_id: str | None = None
    key_id: str | None = None
    ip: str | None = None
    command: str = ""
    """`key revoke` and the like: somebody on the server's own command line."""


SYSTEM = Actor()


def on_command_line(command: str) -> Actor:
    """Whoever runs a command on the server itself."""
    return Actor(command=command)


class ShownActor(msgspec.Struct, kw_only=True):
    """Who acted; all null for the system and for the server's own command line (see `details.command`)."""

    user_id: str | None
    key_id: str | None
    ip: str | None


class Target(msgspec.Struct, kw_only=True):
    """What was acted on."""

    type: str
    id: str | None


class AuditLog(msgspec.Struct, kw_only=True):
    """A row of the log. `number` is its place in the chain, from 1; `hash` is that of the chain up to it."""

    id: str
    number: int
    timestamp: str
    actor: ShownActor
    action: str
    target: Target
    outcome: Outcome
    details: dict[str, Any]
    hash: str
    created_at: str
    updated_at: str


Filter = Annotated[str, Meta(max_length=200)]


class AuditQuery(ListQuery, kw_only=True):
    """`actor` is the id of a user or a key, `target` that of what was acted on."""

    actor: Filter | None = None
    action: Filter | None = None
    target: Filter | None = None
    target_type: Filter | None = None
    outcome: Outcome | None = None


def record(
    tx: Transaction,
    actor: Actor,
    action: str,
    target_type: str,
    target_id: str | None = None,
    *,
    details: Details | None = None,
    outcome: Outcome = "success",
) -> None:
    """Add a row. `action` is `noun.done` (`key.revoked`); `details` as the module says, at most 4 KB of JSON."""
    given = dict(details or {})
    if actor.command:
        given |= {"command": actor.command, "system_user": _system_user()}
    text = msgspec.json.encode(given).decode()
    if len(text) > _MOST_DETAILS:
        raise ValueError(f"the details of {action} are too long for the audit log")
    chain.append(
        tx,
        (
            *(new_id("aud"), tx.now(), actor.user_id, actor.key_id, actor.ip),
            *(action, target_type, target_id, outcome, text),
        ),
    )


def read_of_others(
    store: Store, actor: Actor, target_type: str, target_id: str | None, owner_id: str, *, reason: str = ""
) -> None:
    """Note that somebody reads what is another user's (`owner_id`), before it is shown; `reason` as they gave it.

    In a transaction of its own: a GET has none. Raises ServiceUnavailable, and then nothing may be shown.
    """
    details = {"owner_id": owner_id, **({"reason": reason} if reason else {})}
    with store.transaction() as tx:
        record(tx, actor, "content.read", target_type, target_id, details=details)


def retain(tx: Transaction, before: int) -> int:
    """Take rows older than `before` (Unix seconds) away, at most 1000 at a time; how many, 0 when all is done.

    The rest can still be verified. Raises Conflict when they are not what was written.
    """
    dropped = chain.drop(tx, before)
    if dropped:
        record(tx, SYSTEM, "audit.retained", "audit_log", details={"before": rfc3339(before), "rows": dropped})
    return dropped


def get(db: Reader, row_id: str) -> AuditLog:
    """One row. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM audit_log WHERE id = ?", row_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such row in the audit log.")
    return shown(row)


def list_(db: Reader, query: AuditQuery) -> Page[AuditLog]:
    """A page of the log."""
    where, params = conditions(query)
    return list_page(db, SPEC, query, where=where, params=params)


def conditions(query: AuditQuery) -> tuple[str, tuple[Any, ...]]:
    """The log's own filters as constant SQL, and its parameters."""
    terms: list[str] = []
    params: list[Any] = []
    if query.actor is not None:
        terms.append("(actor_id = ? OR key_id = ?)")
        params += [query.actor, query.actor]
    for column, value in (
        ("action", query.action),
        ("target_id", query.target),
        ("target_type", query.target_type),
        ("outcome", query.outcome),
    ):
        if value is not None:
            terms.append(f"{column} = ?")
            params.append(value)
    return " AND ".join(terms), tuple(params)


def shown(row: tuple[Any, ...]) -> AuditLog:
    """The row as the API shows it."""
    number, row_id, created_at, actor_id, key_id, ip, action, target_type, target_id, outcome, details, hashed = row
    moment = rfc3339(created_at)
    return AuditLog(
        id=row_id,
        number=number,
        timestamp=moment,
        actor=ShownActor(user_id=actor_id, key_id=key_id, ip=ip),
        action=action,
        target=Target(type=target_type, id=target_id),
        outcome=outcome,
        details=msgspec.json.decode(details),
        hash=hashed.hex(),
        created_at=moment,
        updated_at=moment,
    )


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


_COLUMNS = "row_id, id, created_at, actor_id, key_id, ip, action, target_type, target_id, outcome, details, hash"
SPEC: ListSpec[AuditLog] = ListSpec(
    columns=_COLUMNS,
    source="audit_log",
    sortable={"created_at": "created_at", "action": "action"},
    search=("action", "actor_id", "target_id", "details"),
    read=shown,
)
