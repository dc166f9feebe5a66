"""How often one address may come without a valid credential."""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import Counter

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import RateLimitExceeded
from secureai_appliance.governance.limits import MINUTE, Standing
from secureai_appliance.governance.tiers import MOST

_NAME = "failed-authentications-minute"
_MOST_ADDRESSES = 50_000
_ALL_OTHERS = "others"


class Addresses:
    """Counts failures per client address in fixed UTC minutes. Safe to use from any thread; memory is bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = -1
        self._failures: Counter[str] = Counter()

    def failed(self, client: str, most: int) -> None:
        """Count a missing or wrong credential. Raises RateLimitExceeded past `most` in this minute (0: never).

        Called only after a credential was found wrong, so that a valid one is never refused.
        """
        now = self._clock.now()
        with self._lock:
            failures = self._failures_of(now)
            place = self._place(client)
            if not most or failures[place] < most:
                failures[place] += 1
                return
        raise exceeded(math.ceil((now // MINUTE + 1) * MINUTE - now))

    def standing(self, client: str, most: int) -> Standing:
        """How this minute stands for an address."""
        now = self._clock.now()
        with self._lock:
            used = self._failures_of(now)[self._place(client)]
        reset = int(now // MINUTE + 1) * MINUTE
        if not most:
            return Standing(_NAME, None, used, MOST, reset, MINUTE, now)
        return Standing(_NAME, most, used, max(0, most - used), reset, MINUTE, now)

    def _failures_of(self, now: float) -> Counter[str]:
        minute = int(now // MINUTE)
        if minute != self._minute:
            self._minute = minute
            self._failures = Counter()
        return self._failures

    def _place(self, client: str) -> str:
        place = network(client)
        if len(self._failures) >= _MOST_ADDRESSES and place not in self._failures:
            return _ALL_OTHERS
        return place


def network(client: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one, of which one client has them all."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
    return client


def exceeded(retry_after: int) -> RateLimitExceeded:
    """The failure in the contract's words."""
    return RateLimitExceeded(
        f"Rate limit exceeded. Retry after {retry_after} seconds.", retry_after=retry_after, code="rate_limit_exceeded"
    )
