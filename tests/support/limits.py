"""Limits out of the way of tests that are about something else."""

from __future__ import annotations

from typing import Any

from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.tiers import Bounds
from secureai_appliance.store import Store

_MANY = dict.fromkeys(Bounds.__struct_fields__, 1_000_000)
LIFTED = dict.fromkeys(("free", "standard", "professional", "enterprise"), _MANY)
"""Of every tier."""


def lift_limits(store: Store, configs: Configs) -> None:
    """Bounds that no test reaches; everything is still counted."""
    with store.transaction() as tx:
        configs.patch(tx, SYSTEM, {"limits.failed_authentications_per_minute": 1_000_000, "limits.tiers": LIFTED})


def set_tier(store: Store, configs: Configs, bounds: dict[str, Any]) -> None:
    """Bounds of the tier `standard`, which new users are in; what is left out is the default's."""
    with store.transaction() as tx:
        configs.patch(tx, SYSTEM, {"limits.tiers": {**LIFTED, "standard": bounds}})


def only_tokens(**bounds: int) -> dict[str, Any]:
    """Bounds of tokens alone."""
    return {**dict.fromkeys(Bounds.__struct_fields__), **bounds}
