"""Maintenance mode: everybody but administrators is asked to come back later.

It is three settings like any other, switched together; a row of the audit log says when it began and ended.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.configs import Configs
from secureai_appliance.store import Reader, Transaction

CONSTRAINT = "maintenance"
USUAL_MESSAGE = "The appliance is in maintenance. Try again later."


class Maintenance(msgspec.Struct, kw_only=True):
    """`message` is what everybody but administrators is told; `retry_after` in seconds."""

    enabled: bool
    message: str
    retry_after: int


class MaintenancePut(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The mode; an empty `message` is the usual one."""

    enabled: bool
    message: Annotated[str, Meta(max_length=500)] = ""
    retry_after: Annotated[int, Meta(ge=1, le=86_400)] = 300


def now(configs: Configs) -> Maintenance:
    """As it counts at this moment."""
    values = configs.values()
    return Maintenance(
        enabled=values["maintenance.enabled"],
        message=values["maintenance.message"],
        retry_after=values["maintenance.retry_after"],
    )


def stored(db: Reader, configs: Configs) -> Maintenance:
    """As it stands in this state of the file."""
    return Maintenance(
        enabled=configs.get(db, "maintenance.enabled").value,
        message=configs.get(db, "maintenance.message").value,
        retry_after=configs.get(db, "maintenance.retry_after").value,
    )


def put(tx: Transaction, configs: Configs, actor: Actor, body: MaintenancePut) -> Maintenance:
    """Switch it. Raises ValidationError."""
    configs.patch(
        tx,
        actor,
        {
            "maintenance.enabled": body.enabled,
            "maintenance.message": body.message,
            "maintenance.retry_after": body.retry_after,
        },
    )
    action = "maintenance.started" if body.enabled else "maintenance.ended"
    audit.record(tx, actor, action, "system", "maintenance")
    return stored(tx, configs)


def refuse(configs: Configs) -> None:
    """Raise ServiceUnavailable while it is on: for whoever is no administrator."""
    state = now(configs)
    if state.enabled:
        raise ServiceUnavailable(state.message or USUAL_MESSAGE, constraint=CONSTRAINT, retry_after=state.retry_after)
