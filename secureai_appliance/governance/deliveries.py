"""Deliveries: one event on its way to one webhook, with every attempt that was made.

What waits is a row in the file, put there in the transaction of the change: a kill loses none. An attempt that ends
without its outcome being stored is made again, so that a receiver may get an event twice, and never none.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound
from secureai_appliance.governance import audit, webhooks
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.events import TEST, Envelope
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
SCHEDULE = (5, 30, 2 * MINUTE, 10 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR)
"""Seconds after each failed attempt; after one more the delivery has failed."""
JITTER = 0.1
"""Up to this share of the pause is added, so that not all come back at once."""
LONGEST_WAIT = 24 * HOUR
"""The longest Retry-After that is heeded."""
FARTHEST = LONGEST_WAIT + HOUR
"""No attempt is put off for longer: what is due later was put down under a clock that was ahead, and is due now."""
GIVE_UP_SECONDS = 3 * DAY
"""A webhook that has failed for so long is disabled …"""
GIVE_UP_ATTEMPTS = len(SCHEDULE) + 1
"""… when there were so many tries: two servers that were both switched off for a week have not failed each other."""
SHOWN_BYTES = 1024
"""Of an answer."""
_SWEPT_AT_ONCE = 500

Status = Literal["pending", "delivered", "failed"]


class Attempt(msgspec.Struct, kw_only=True):
    """One try. `status` null: there was no answer, and `error` says why. `response`: the beginning of the answer."""

    at: str
    duration_ms: int
    status: int | None
    error: str | None
    response: str


class Delivery(msgspec.Struct, kw_only=True):
    """An event on its way to a webhook. `body` is what is sent, parsed; `next_attempt_at` null: there will be none."""

    id: str
    webhook_id: str
    event: str
    event_id: str
    status: Status
    attempts: list[Attempt]
    next_attempt_at: str | None
    body: Envelope
    created_at: str
    updated_at: str


class DeliveryQuery(ListQuery, kw_only=True):
    """Newest first, unless `sort` says otherwise."""

    status: Status | None = None


@dataclass(frozen=True)
class Due:
    """A delivery that is to be tried now; `failing`: its webhook's last attempt did not succeed."""

    id: str
    webhook_id: str
    event_id: str
    url: str
    body: bytes
    failing: bool


@dataclass(frozen=True)
class Outcome:
    """How an attempt went: the answer's status and beginning, or why there was none. `retry_after` as it was sent."""

    started: float
    ms: int
    status: int | None = None
    error: str | None = None
    response: str = ""
    retry_after: str | None = None

    @property
    def well(self) -> bool:
        """Any 2xx is delivered."""
        return self.status is not None and 200 <= self.status < 300


def due(db: Reader, now: float, busy: Collection[str]) -> list[Due]:
    """For each enabled webhook that is not among `busy` the delivery that is due first, longest due first.

    While a webhook is healthy that is the order of the commits; one that failed is due later and holds none up.
    """
    rows = db.all(
        "SELECT d.id, w.id, d.event_id, w.url, e.body, w.failing_since IS NOT NULL FROM webhooks w"
        " JOIN deliveries d ON d.row_id = COALESCE("
        "(SELECT row_id FROM deliveries WHERE webhook_id = w.id"
        " AND status = 'pending' AND next_at <= ? ORDER BY next_at, row_id LIMIT 1),"
        " (SELECT row_id FROM deliveries WHERE webhook_id = w.id"
        " AND status = 'pending' AND next_at > ? ORDER BY next_at, row_id LIMIT 1))"
        " JOIN events e ON e.id = d.event_id WHERE w.enabled ORDER BY d.next_at, d.row_id",
        *(math.floor(now), math.floor(now) + FARTHEST),
    )
    return [
        Due(delivery_id, webhook_id, event_id, url, body.encode(), bool(failing))
        for delivery_id, webhook_id, event_id, url, body, failing in rows
        if webhook_id not in busy
    ]


def settle(tx: Transaction, delivery: Due, outcome: Outcome, jitter: Callable[[], float] = random.random) -> None:
    """Store how an attempt went, and what follows of it. Nothing, when the webhook is gone meanwhile."""
    row = tx.one(
        "SELECT d.tries, e.type, w.failing_since FROM deliveries d JOIN events e ON e.id = d.event_id"
        " JOIN webhooks w ON w.id = d.webhook_id WHERE d.id = ?",
        delivery.id,
    )
    if row is None:
        return
    tries, kind, failing_since = row
    now = tx.wall()
    tx.run(
        "INSERT INTO delivery_attempts (delivery_id, created_at, ms, status, error, response)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        *(delivery.id, int(outcome.started), outcome.ms, outcome.status, outcome.error, outcome.response),
    )
    if outcome.well:
        _mark(tx, delivery.id, "delivered", tries, now)
        if failing_since is not None:
            tx.run("UPDATE webhooks SET failing_since = NULL WHERE id = ?", delivery.webhook_id)
        return
    if outcome.status == 410:
        _mark(tx, delivery.id, "failed", tries + 1, now)
        webhooks.disable(tx, delivery.webhook_id, "gone")
        return
    if tries >= len(SCHEDULE) or kind == TEST:
        _mark(tx, delivery.id, "failed", tries + 1, now)
    else:
        _mark(tx, delivery.id, "pending", tries + 1, now + _pause(tries, outcome, now, jitter()))
    if kind == TEST:
        return  # who tests a receiver that is not there yet begins no count of days
    if failing_since is None:
        tx.run("UPDATE webhooks SET failing_since = ? WHERE id = ?", now, delivery.webhook_id)
    elif now - failing_since >= GIVE_UP_SECONDS and _tries_since(tx, delivery, failing_since) >= GIVE_UP_ATTEMPTS:
        webhooks.disable(tx, delivery.webhook_id, "failing")


def get(db: Reader, delivery_id: str) -> Delivery:
    """The delivery with this id. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM {_SOURCE} WHERE d.id = ?", delivery_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such delivery.")
    return _delivery(row)


def list_(db: Reader, webhook_id: str, query: DeliveryQuery) -> Page[Delivery]:
    """A page of a webhook's deliveries. Raises NotFound for an unknown webhook."""
    webhooks.get(db, webhook_id)
    if query.status is None:
        return list_page(db, _LIST, query, where="d.webhook_id = ?", params=(webhook_id,))
    where, params = "d.webhook_id = ? AND d.status = ?", (webhook_id, query.status)
    return list_page(db, _LIST, query, where=where, params=params)


def redeliver(tx: Transaction, actor: Actor, delivery_id: str) -> Delivery:
    """Send it again now, whatever became of it, with the whole schedule before it.

    Raises NotFound, Conflict when its webhook is disabled.
    """
    webhooks.require_enabled(webhooks.get(tx, get(tx, delivery_id).webhook_id))
    _mark(tx, delivery_id, "pending", 0, tx.wall())
    audit.record(tx, actor, "webhook_delivery.repeated", "webhook_delivery", delivery_id)
    return get(tx, delivery_id)


def retain(tx: Transaction, before: int) -> bool:
    """Forget events older than `before` (Unix seconds) and their deliveries, some at a time; whether there are more."""
    gone = tx.run(
        "DELETE FROM events WHERE row_id IN (SELECT row_id FROM events WHERE created_at < ? LIMIT ?)",
        *(before, _SWEPT_AT_ONCE),
    )
    return gone == _SWEPT_AT_ONCE


def _tries_since(tx: Transaction, delivery: Due, moment: int) -> int:
    found: int = tx.value(
        "SELECT COUNT(*) FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id"
        " WHERE d.webhook_id = ? AND a.created_at >= ?",
        *(delivery.webhook_id, moment),
    )
    return found


def _pause(tries: int, outcome: Outcome, now: float, chance: float) -> int:
    """Whole seconds to the next attempt: the schedule's with jitter, more when the receiver asks for it."""
    pause = SCHEDULE[tries] * (1 + JITTER * chance)
    return math.ceil(max(pause, min(_asked_for(outcome.retry_after, now), LONGEST_WAIT)))


def _asked_for(retry_after: str | None, now: float) -> float:
    """Seconds of a Retry-After (a number or a date, RFC 9110 10.2.3); 0 for none and for anything else."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0


def _mark(tx: Transaction, delivery_id: str, status: Status, tries: int, next_at: int) -> None:
    tx.run(
        "UPDATE deliveries SET status = ?, tries = ?, next_at = ?, updated_at = ? WHERE id = ?",
        *(status, tries, next_at, tx.now(), delivery_id),
    )


def _delivery(row: tuple[Any, ...]) -> Delivery:
    delivery_id, webhook_id, event_id, kind, body, status, next_at, created_at, updated_at, attempts = row
    tried = [
        Attempt(at=rfc3339(at), duration_ms=ms, status=code, error=error, response=response)
        for at, ms, code, error, response in msgspec.json.decode(attempts)
    ]
    return Delivery(
        id=delivery_id,
        webhook_id=webhook_id,
        event=kind,
        event_id=event_id,
        status=status,
        attempts=tried,
        next_attempt_at=rfc3339(next_at) if status == "pending" else None,
        body=msgspec.json.decode(body, type=Envelope),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_SOURCE = "deliveries d JOIN events e ON e.id = d.event_id"
_COLUMNS = (
    "d.id, d.webhook_id, d.event_id, e.type, e.body, d.status, d.next_at, d.created_at, d.updated_at,"
    " (SELECT json_group_array(json_array(a.created_at, a.ms, a.status, a.error, a.response) ORDER BY a.row_id)"
    " FROM delivery_attempts a WHERE a.delivery_id = d.id)"
)
_LIST: ListSpec[Delivery] = ListSpec(
    columns=_COLUMNS,
    source=_SOURCE,
    read=_delivery,
    sortable={"created_at": "d.created_at"},
    search=("e.type",),
    row_id="d.row_id",
    created_at="d.created_at",
)
