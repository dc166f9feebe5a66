"""Usage: requests, tokens, time and cost, summed by hour and by day for each user, key, model and assistant.

Sums are kept in memory and added to the file every few seconds (with the counters of the limits) and at the end: a kill
loses those since the last `flush`, never half of one. Prices are those of the moment of the request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from secureai_appliance.core.clock import Clock
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.governance.prices import Price
from secureai_appliance.store import Store, Transaction

HOUR, DAY = 3600, 24 * 3600
OWNED = (Owned("usage_hours", "user_id", "keep"), Owned("usage_days", "user_id", "keep"))
MILLION = 1_000_000
_EVERY_MODEL = "*"


class Used(NamedTuple):
    """One request that has ended. `seconds` from its arrival to its last byte.

    What another model read on the way to its answer is one of its own, of no `requests`.
    """

    user_id: str
    key_id: str | None
    model: str
    assistant_id: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    requests: int = 1


class Usage:
    """What is used from now on. Safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock, prices: Callable[[], Mapping[str, Price]]) -> None:
        self._store = store
        self._clock = clock
        self._prices = prices
        self._lock = threading.Lock()
        self._pending: dict[tuple[int, str, str, str, str], list[int]] = {}

    def add(self, used: Used) -> None:
        """Count a request."""
        hour = int(self._clock.now()) // HOUR * HOUR
        place = (hour, used.user_id, used.key_id or "", used.model, used.assistant_id)
        amounts = (
            used.requests,
            used.prompt_tokens,
            used.completion_tokens,
            round(used.seconds * 1000),
            self._cost(used),
        )
        with self._lock:
            _add(self._pending, place, amounts)

    def flush(self) -> None:
        """Write what was counted, if there is any. Raises ServiceUnavailable; nothing is lost then."""
        with self._lock:
            pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            with self._store.transaction() as tx:
                for (hour, *rest), amounts in pending.items():
                    tx.run(_ADD_TO_HOUR, hour, *rest, *amounts)
                    tx.run(_ADD_TO_DAY, hour // DAY * DAY, *rest, *amounts)
        except BaseException:
            with self._lock:
                for place, amounts in pending.items():
                    _add(self._pending, place, amounts)
            raise

    def _cost(self, used: Used) -> int:
        if not used.model:
            return 0
        prices = self._prices()
        price = prices.get(used.model) or prices.get(_EVERY_MODEL)
        if price is None:
            return 0
        return round((used.prompt_tokens * price.prompt + used.completion_tokens * price.completion) * MILLION / 1000)


def _add(sums: dict[Any, list[int]], place: Any, amounts: Any) -> None:
    there = sums.get(place)
    if there is None:
        sums[place] = list(amounts)
    else:
        for index, amount in enumerate(amounts):
            there[index] += amount


_UPSERT = (
    " (start, user_id, key_id, model, assistant_id, requests, prompt_tokens, completion_tokens, milliseconds, cost)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,"
    " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = completion_tokens + excluded.completion_tokens,"
    " milliseconds = milliseconds + excluded.milliseconds, cost = cost + excluded.cost"
)
_ADD_TO_HOUR = f"INSERT INTO usage_hours{_UPSERT}"
_ADD_TO_DAY = f"INSERT INTO usage_days{_UPSERT}"


def retain(tx: Transaction, *, hours_before: int, days_before: int) -> bool:
    """Take away hours and days that began before these moments (Unix seconds), a few; whether there are more."""
    more = False
    for table, before, at_once in (("usage_hours", hours_before, DAY), ("usage_days", days_before, 7 * DAY)):
        oldest = tx.value(f"SELECT MIN(start) FROM {table}")  # noqa: S608 (constant names)
        if oldest is None or oldest >= before:
            continue
        until = min(oldest + at_once, before)
        tx.run(f"DELETE FROM {table} WHERE start < ?", until)  # noqa: S608 (constant names)
        more = more or until < before
    return more
