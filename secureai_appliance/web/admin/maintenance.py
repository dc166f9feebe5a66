"""`/maintenance`: the page on which an administrator switches maintenance mode."""

from __future__ import annotations

from typing import Any

import msgspec

from secureai_appliance.core.errors import Failure, ValidationError
from secureai_appliance.governance import maintenance
from secureai_appliance.governance.maintenance import MaintenancePut
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.pages import form, go, page
from secureai_appliance.web.request import Request

MAINTENANCE = "/maintenance"
_NOTICES = {
    "on": "Maintenance mode is on: everybody but administrators is asked to come back later.",
    "off": "Maintenance mode is off.",
}


class Switched(msgspec.Struct):
    """`done`: what was just done, to say so."""

    done: str = ""


def show(request: Request[None, Switched]) -> Answer:
    return _page(request, notice=_NOTICES.get(request.query.done))


def switch(request: Request[None, Any]) -> Answer:
    try:
        sent = form(request, MaintenancePut)
    except ValidationError as failure:
        return _page(request, refusal=failure)
    with request.parts.store.transaction() as tx:
        maintenance.put(tx, request.parts.configs, request.caller.actor, sent)
    return go(f"{MAINTENANCE}?done={'on' if sent.enabled else 'off'}")


def _page(request: Request[None, Any], *, notice: str | None = None, refusal: Failure | None = None) -> Answer:
    return page(
        request,
        "maintenance.html",
        status=200 if refusal is None else refusal.status,
        state=maintenance.now(request.parts.configs),
        usual=maintenance.USUAL_MESSAGE,
        notice=notice,
        refusal=refusal.message if refusal is not None else None,
    )
