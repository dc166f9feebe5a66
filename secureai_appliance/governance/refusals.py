"""Failed authentication and refused permission, for the audit log: counted, one row a minute for all that are alike.

Whoever knocks a thousand times must not be able to fill the log, nor to make the disk write for it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor, Outcome
from secureai_appliance.store import Store

MINUTE = 60
MOST = 2000
"""Different ones that are told apart within a minute; the rest is counted together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """What is alike. `target_id` is one of our words, such as a route's template, never what was sent."""

    action: str
    actor: Actor
    target_type: str
    target_id: str
    outcome: Outcome


@dataclass
class _Seen:
    first: int
    last: int
    count: int = 0


@dataclass
class Refusals:
    """Counts until `flush` writes. Safe to use from any thread; memory is bounded."""

    _seen: dict[tuple[int, Refusal], _Seen] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, refusal: Refusal, now: float) -> None:
        """Count one. `now`: Unix seconds."""
        second = int(now)
        place = (second // MINUTE, refusal)
        with self._lock:
            if place not in self._seen and len(self._seen) >= MOST:
                others = Refusal(refusal.action, Actor(), refusal.target_type, "others", refusal.outcome)
                place = (second // MINUTE, others)
            seen = self._seen.setdefault(place, _Seen(second, second))
            seen.last = second
            seen.count += 1

    def flush(self, store: Store, now: float, *, unfinished: bool = False) -> None:
        """Write the minutes that are over, and with `unfinished` the one that runs. What can't be written is kept."""
        minute = int(now) // MINUTE
        with self._lock:
            due = {place: seen for place, seen in self._seen.items() if unfinished or place[0] != minute}
            for place in due:
                del self._seen[place]
        if not due:
            return
        try:
            with store.transaction() as tx:
                for (_, refusal), seen in due.items():
                    audit.record(
                        tx,
                        *(refusal.actor, refusal.action, refusal.target_type, refusal.target_id),
                        details={"count": seen.count, "first": rfc3339(seen.first), "last": rfc3339(seen.last)},
                        outcome=refusal.outcome,
                    )
        except ServiceUnavailable as failure:
            log.warning("refused requests could not be written to the audit log yet: %s", failure.message)
            with self._lock:
                self._seen = {**due, **self._seen}
