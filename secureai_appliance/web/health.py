"""`/healthz`, `/readyz`, `/metrics`: for whoever watches the appliance."""

from __future__ import annotations

import msgspec

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance import maintenance
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.metrics import CONTENT_TYPE
from secureai_appliance.web.request import Request

RETRY_AFTER = 5
_ALIVE = b'{"status":"ok"}'
_READY = b'{"status":"ready"}'


class Health(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`ok`: the process answers; `ready`: it can serve. `notes`: what an administrator has to look after anyhow."""

    status: str
    notes: list[str] = []


def healthz(_: Request[None, None]) -> Answer:
    """Alive. Looks at nothing, so that a busy disk or model never makes it late."""
    return Answer(body=_ALIVE)


def readyz(request: Request[None, None]) -> Answer:
    """Whether requests can be served. Raises ServiceUnavailable with the checks that failed."""
    state = maintenance.now(request.parts.configs)
    if state.enabled:
        message = state.message or maintenance.USUAL_MESSAGE
        raise ServiceUnavailable(
            "Not ready: maintenance.",
            details={"checks": [{"name": "maintenance", "message": message}]},
            constraint=maintenance.CONSTRAINT,
            retry_after=state.retry_after,
        )
    checks = request.parts.readiness()
    failed = [check for check in checks if not check.ok]
    if failed:
        raise ServiceUnavailable(
            f"Not ready: {', '.join(check.name for check in failed)}.",
            details={"checks": [{"name": check.name, "message": check.message} for check in failed]},
            retry_after=RETRY_AFTER,
        )
    notes = [check.message for check in checks if check.message]
    return Answer(body=msgspec.json.encode(Health(status="ready", notes=notes)) if notes else _READY)


def metrics(request: Request[None, None]) -> Answer:
    """In Prometheus' text format."""
    return Answer(body=request.parts.metrics.render(), content_type=CONTENT_TYPE)
