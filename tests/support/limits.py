"""Limits out of the way of tests that are about something else."""

from __future__ import annotations

from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.store import Store


def lift_limits(store: Store, configs: Configs) -> None:
    """Bounds that no test reaches; everything is still counted."""
    with store.transaction() as tx:
        configs.patch(tx, SYSTEM, {"limits.failed_authentications_per_minute": 1_000_000})
