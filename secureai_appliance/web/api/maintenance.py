"""`/maintenance`: maintenance mode."""

from __future__ import annotations

from secureai_appliance.governance import maintenance
from secureai_appliance.governance.maintenance import Maintenance, MaintenancePut
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def show(request: Request[None, None]) -> Maintenance:
    return maintenance.now(request.parts.configs)


def put(request: Request[MaintenancePut, None]) -> Maintenance:
    configs = request.parts.configs
    require_match(request, maintenance.stored(request.tx, configs))
    return maintenance.put(request.tx, configs, request.caller.actor, request.body)
