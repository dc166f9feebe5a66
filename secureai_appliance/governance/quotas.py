"""What each user may do: the settings' tiers, a user's own bounds, and the counters."""

from __future__ import annotations

import logging

import msgspec

from secureai_appliance.core.clock import Clock, rfc3339
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance import events
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.events import LimitReached
from secureai_appliance.governance.limits import Lease, Limits, Refused, Standing
from secureai_appliance.governance.tiers import Bounds, Overrides
from secureai_appliance.store import Store

log = logging.getLogger(__name__)

_NO_BOUNDS = Bounds()


class WindowState(msgspec.Struct, kw_only=True):
    """One window; `limit` null: there is none. It is counted anew from `resets_at` on."""

    name: str
    limit: int | None
    used: int
    remaining: int | None
    resets_at: str


class AtOnce(msgspec.Struct, kw_only=True):
    """How much runs at the same time; `limit` null: as much as there is room for."""

    name: str
    limit: int | None
    running: int


class LimitState(msgspec.Struct, kw_only=True):
    """A user's limits and what is left of them."""

    tier: str
    enabled: bool
    windows: list[WindowState]
    concurrent: list[AtOnce]


class Quotas:
    """The limits of all users. Safe to use from any thread."""

    def __init__(self, store: Store, configs: Configs, clock: Clock) -> None:
        self.limits = Limits(clock)
        self._store = store
        self._configs = configs
        with store.read() as db:
            self.limits.restore(db)

    def admit(self, user_id: str, tier: str, own: Overrides | None, *, completion: bool, tokens: bool = False) -> Lease:
        """Count a request. `own`: the user's bounds in place of the tier's; the others as `Limits.admit`'s.

        Raises Refused.
        """
        try:
            return self.limits.admit(user_id, self.bounds(tier, own), completion=completion, tokens=tokens)
        except Refused as refused:
            self.tell(user_id, refused)
            raise

    def tell(self, user_id: str, refused: Refused) -> None:
        """Emit `limit.reached` for the first refusal of a window."""
        standing = refused.standing
        if not refused.first or standing.limit is None:
            return
        reached = LimitReached(
            user_id=user_id, window=standing.name, limit=standing.limit, resets_at=rfc3339(standing.reset)
        )
        try:
            events.announce(self._store, reached)
        except ServiceUnavailable as failure:
            log.warning("that a limit was reached could not be stored: %s", failure.message)

    def bounds(self, tier: str, own: Overrides | None) -> Bounds:
        """What counts now for a user of this tier with these bounds of their own."""
        values = self._configs.values()
        if not values["limits.enabled"]:
            return _NO_BOUNDS
        bounds: Bounds = getattr(values["limits.tiers"], tier)
        return bounds if own is None else own.over(bounds)

    def state(self, user_id: str, tier: str, own: Overrides | None) -> LimitState:
        """For `/me/limits`."""
        bounds = self.bounds(tier, own)
        requests, completions = self.limits.running(user_id)
        return LimitState(
            tier=tier,
            enabled=self._configs.value("limits.enabled"),
            windows=[_shown(standing) for standing in self.limits.standings(user_id, bounds)],
            concurrent=[
                AtOnce(name="concurrent-requests", limit=bounds.concurrent_requests, running=requests),
                AtOnce(name="concurrent-completions", limit=bounds.concurrent_completions, running=completions),
            ],
        )

    def persist(self) -> None:
        """Write the counters, if there is anything new. Raises ServiceUnavailable; nothing is forgotten then."""
        self.limits.persist(self._store)


def _shown(standing: Standing) -> WindowState:
    limited = standing.limit is not None
    return WindowState(
        name=standing.name,
        limit=standing.limit,
        used=standing.used,
        remaining=standing.remaining if limited else None,
        resets_at=rfc3339(standing.reset),
    )
