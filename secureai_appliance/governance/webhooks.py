"""Webhooks: addresses of other programs that are told of events. An administrator's business."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.network import InvalidUrl, parse_url
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import audit, events
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.governance.events import EventType, WebhookDisabled, WebhookTest
from secureai_appliance.governance.signatures import new_secret
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

ROTATION_SECONDS = 24 * 3600
"""For so long the secret before signs too."""
MOST = 100
"""Webhooks that there may be: each event looks at all of them."""

log = logging.getLogger(__name__)

Status = Literal["active", "failing", "disabled"]
EndedBy = Literal["gone", "failing"]
_Url = Annotated[str, Meta(min_length=1, max_length=2000)]
_Events = Annotated[list[EventType], Meta(min_length=1, max_length=50)]
_Description = Annotated[str, Meta(max_length=500)]
_COLUMNS = "id, url, events, description, enabled, ended_by, previous_until, failing_since, created_at, updated_at"


class WebhookCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new webhook. `url` begins with `http://` or `https://`."""

    url: _Url
    events: _Events
    description: _Description = ""
    enabled: bool = True


class WebhookPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a webhook; what is left out stays. Enabled again, it gets what still waits for it."""

    url: _Url | UnsetType = UNSET
    events: _Events | UnsetType = UNSET
    description: _Description | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class Webhook(msgspec.Struct, kw_only=True):
    """A webhook without its secret.

    `status`: `failing` since `failing_since`, when the last attempts did not succeed; `disabled`: it gets nothing.
    `disabled_because`: null unless the appliance itself disabled it, because it answered 410 (`gone`) or nothing but
    failures for three days (`failing`). `previous_secret_until`: until then the secret before signs too.
    """

    id: str
    url: str
    events: list[EventType]
    description: str
    enabled: bool
    status: Status
    failing_since: str | None
    disabled_because: EndedBy | None
    previous_secret_until: str | None
    created_at: str
    updated_at: str


class WebhookCreated(Webhook, kw_only=True):
    """A webhook with its new secret, shown this once."""

    secret: str


def create(tx: Transaction, sealer: Sealer, actor: Actor, body: WebhookCreate) -> WebhookCreated:
    """Add a webhook. Raises ValidationError, Conflict when there are too many."""
    _check_url(body.url)
    if tx.value("SELECT COUNT(*) FROM webhooks") >= MOST:
        raise Conflict(f"There are {MOST} webhooks already.", constraint="maximum")
    webhook_id, secret, now = new_id("hook"), new_secret(), tx.now()
    tx.run(
        "INSERT INTO webhooks (id, url, events, description, enabled, secret, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(webhook_id, body.url, _json(body.events), body.description, int(body.enabled)),
        *(sealer.seal(secret.encode(), _context(webhook_id)), now, now),
    )
    audit.record(tx, actor, "webhook.created", "webhook", webhook_id, details={"events": _names(body.events)})
    return WebhookCreated(**msgspec.structs.asdict(get(tx, webhook_id)), secret=secret)


def get(db: Reader, webhook_id: str) -> Webhook:
    """The webhook with this id. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM webhooks WHERE id = ?", webhook_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such webhook.")
    return _webhook(row)


def list_(db: Reader, query: ListQuery) -> Page[Webhook]:
    """A page of all webhooks."""
    return list_page(db, _LIST, query)


def patch(tx: Transaction, actor: Actor, webhook_id: str, body: WebhookPatch) -> Webhook:
    """Change a webhook. Raises NotFound, ValidationError."""
    get(tx, webhook_id)
    now, details = tx.now(), {"fields": [name for name in body.__struct_fields__ if getattr(body, name) is not UNSET]}
    if body.url is not UNSET:
        _check_url(body.url)
        tx.run("UPDATE webhooks SET url = ?, updated_at = ? WHERE id = ?", body.url, now, webhook_id)
    if body.events is not UNSET:
        tx.run("UPDATE webhooks SET events = ?, updated_at = ? WHERE id = ?", _json(body.events), now, webhook_id)
    if body.description is not UNSET:
        tx.run("UPDATE webhooks SET description = ?, updated_at = ? WHERE id = ?", body.description, now, webhook_id)
    if body.enabled is not UNSET:
        # whoever enables it means that it works: three days count from the next failure
        tx.run(
            "UPDATE webhooks SET enabled = ?, ended_by = NULL, failing_since = NULL, updated_at = ? WHERE id = ?",
            *(int(body.enabled), now, webhook_id),
        )
    audit.record(tx, actor, "webhook.updated", "webhook", webhook_id, details=details)
    return get(tx, webhook_id)


def rotate_secret(tx: Transaction, sealer: Sealer, actor: Actor, webhook_id: str) -> WebhookCreated:
    """Give a webhook a new secret; the one before signs too for a day. Raises NotFound."""
    get(tx, webhook_id)
    secret, now = new_secret(), tx.now()
    tx.run(
        "UPDATE webhooks SET previous_secret = secret, previous_until = ?, secret = ?, updated_at = ? WHERE id = ?",
        *(tx.wall() + ROTATION_SECONDS, sealer.seal(secret.encode(), _context(webhook_id)), now, webhook_id),
    )
    audit.record(tx, actor, "webhook.secret_rotated", "webhook", webhook_id)
    return WebhookCreated(**msgspec.structs.asdict(get(tx, webhook_id)), secret=secret)


def send_test(tx: Transaction, actor: Actor, webhook_id: str) -> str:
    """Have a test event delivered; the delivery's id. Raises NotFound, Conflict when the webhook is disabled."""
    require_enabled(get(tx, webhook_id))
    event_id = events.put_down(tx, WebhookTest(webhook_id=webhook_id))
    audit.record(tx, actor, "webhook.tested", "webhook", webhook_id)
    return events.deliver_to(tx, webhook_id, event_id)


def delete(tx: Transaction, actor: Actor, webhook_id: str) -> None:
    """Remove a webhook with all of its deliveries. Raises NotFound."""
    if not tx.run("DELETE FROM webhooks WHERE id = ?", webhook_id):
        raise NotFound("There is no such webhook.")
    audit.record(tx, actor, "webhook.deleted", "webhook", webhook_id)


def disable(tx: Transaction, webhook_id: str, reason: EndedBy) -> None:
    """Send nothing more: the receiver does not want it, or does not work. Others may hear of it."""
    changed = tx.run(
        "UPDATE webhooks SET enabled = 0, ended_by = ?, updated_at = ? WHERE id = ? AND enabled",
        *(reason, tx.now(), webhook_id),
    )
    if changed:
        audit.record(tx, SYSTEM, "webhook.disabled", "webhook", webhook_id, details={"reason": reason})
        events.emit(tx, WebhookDisabled(webhook_id=webhook_id, reason=reason))
        tx.after_commit(lambda: log.warning("the webhook %s was disabled (%s)", webhook_id, reason))


def given_up(db: Reader) -> list[Webhook]:
    """Those that the appliance itself disabled and nobody has enabled since, for a notice to administrators."""
    columns = f"SELECT {_COLUMNS} FROM webhooks"  # noqa: S608 (constant columns)
    return [_webhook(row) for row in db.all(f"{columns} WHERE ended_by IS NOT NULL AND NOT enabled ORDER BY row_id")]


def require_enabled(webhook: Webhook) -> None:
    """Raise Conflict for a webhook that gets nothing."""
    if not webhook.enabled:
        raise Conflict("The webhook is disabled: enable it first.", constraint="disabled")


def secrets(db: Reader, sealer: Sealer, webhook_id: str, now: float) -> list[str]:
    """What signs at `now`: the secret, and the one before while it counts. Raises NotFound."""
    row = db.one("SELECT secret, previous_secret, previous_until FROM webhooks WHERE id = ?", webhook_id)
    if row is None:
        raise NotFound("There is no such webhook.")
    secret, previous, until = row
    sealed = [secret] if previous is None or now >= until else [secret, previous]
    return [sealer.open(one, _context(webhook_id)).decode() for one in sealed]


def forget_previous(tx: Transaction) -> None:
    """Forget secrets that sign no more."""
    tx.run("UPDATE webhooks SET previous_secret = NULL, previous_until = NULL WHERE previous_until <= ?", tx.wall())


def _check_url(url: str) -> None:
    # whether the address may be dialled is looked at when it is: a name may lead elsewhere by then
    try:
        parse_url(url)
    except InvalidUrl as cause:
        raise ValidationError(cause.message, field="url", constraint="format") from cause


def _names(wanted: list[EventType]) -> list[str]:
    return sorted(set(wanted))


def _json(wanted: list[EventType]) -> str:
    return msgspec.json.encode(_names(wanted)).decode()


def _context(webhook_id: str) -> str:
    return f"webhooks.secret {webhook_id}"


def _webhook(row: tuple[Any, ...]) -> Webhook:
    webhook_id, url, wanted, description, enabled, ended_by, until, failing_since, created_at, updated_at = row
    status: Status = "disabled" if not enabled else "failing" if failing_since is not None else "active"
    return Webhook(
        id=webhook_id,
        url=url,
        events=msgspec.json.decode(wanted, type=list[EventType]),
        description=description,
        enabled=bool(enabled),
        status=status,
        failing_since=None if failing_since is None else rfc3339(failing_since),
        disabled_because=cast("EndedBy | None", ended_by),
        previous_secret_until=None if until is None else rfc3339(until),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_LIST: ListSpec[Webhook] = ListSpec(
    columns=_COLUMNS,
    source="webhooks",
    read=_webhook,
    sortable={"created_at": "created_at", "url": "url"},
    search=("url", "description"),
)
