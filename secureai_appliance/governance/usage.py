"""Usage: requests, tokens, time and cost, summed by hour and by day for each user, key, model and assistant.

Sums are kept in memory and added to the file every few seconds (with the counters of the limits) and at the end: a kill
loses those since the last `flush`, never half of one. Prices are those of the moment of the request.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from secureai_appliance.core.clock import Clock, parse_rfc3339, rfc3339
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.governance.prices import Price
from secureai_appliance.store import Reader, Store, Transaction

HOUR, DAY = 3600, 24 * 3600
OWNED = (Owned("usage_hours", "user_id", "keep"), Owned("usage_days", "user_id", "keep"))
MILLION = 1_000_000
_EVERY_MODEL = "*"
_DEFAULT_DAYS = 30

Group = Literal["user", "key", "model", "assistant"]
Interval = Literal["hour", "day"]
Moment = Annotated[str, Meta(max_length=40)]


class Used(NamedTuple):
    """One request that has ended. `seconds` from its arrival to its last byte."""

    user_id: str
    key_id: str | None
    model: str
    assistant_id: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


class UsageQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Times are dates (midnight UTC) or RFC 3339 date-times; without `from` the last 30 days."""

    group_by: Annotated[Group | None, Meta(description="One row for each of these; without it, for all together.")] = (
        None
    )
    interval: Annotated[Interval | None, Meta(description="One row for each hour or day of UTC.")] = None
    from_: Annotated[Moment, Meta(description="Not before this (inclusive), to the hour.")] | None = msgspec.field(
        name="from", default=None
    )
    to: Annotated[Moment, Meta(description="Before this (exclusive).")] | None = None
    page: Annotated[int, Meta(ge=1, le=1_000_000, description="The page's number, from 1.")] = 1
    page_size: Annotated[int, Meta(ge=1, le=100, description="Rows on a page.")] = 100


class Sums(msgspec.Struct, kw_only=True):
    """What was used. `latency_ms` is the mean of all requests; `cost` in the unit of `usage.prices`."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    latency_ms: float
    cost: float


class UsageRow(Sums, kw_only=True):
    """`start`: of the hour or day. `group`: the id that the row is for; empty: requests without one."""

    start: str | None
    group: str | None


class UsagePage(msgspec.Struct, kw_only=True):
    """Rows by time and group; `totals` of all pages."""

    data: list[UsageRow]
    total: int
    page: int
    page_size: int
    next: None = None
    totals: Sums


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
        amounts = (1, used.prompt_tokens, used.completion_tokens, round(used.seconds * 1000), self._cost(used))
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
_SUMS = "SUM(requests), SUM(prompt_tokens), SUM(completion_tokens), SUM(milliseconds), SUM(cost)"
_GROUPS = {"user": "user_id", "key": "key_id", "model": "model", "assistant": "assistant_id"}


def report(db: Reader, query: UsageQuery, now: float, *, user_id: str | None = None) -> UsagePage:
    """A page of sums, of everybody or of one user. Raises ValidationError."""
    rows = _rows(db, query, now, user_id)
    first = (query.page - 1) * query.page_size
    sums = [sum(row[2 + place] for row in rows) for place in range(5)]
    return UsagePage(
        data=[_shown(row) for row in rows[first : first + query.page_size]],
        total=len(rows),
        page=query.page,
        page_size=query.page_size,
        totals=Sums(**_sums(sums)),
    )


def report_as_csv(db: Reader, query: UsageQuery, now: float) -> bytes:
    """All rows as CSV, with a line of names (RFC 4180, UTF-8)."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(UsageRow.__struct_fields__)
    for row in _rows(db, query, now, None):
        writer.writerow([_harmless(value) for value in msgspec.structs.astuple(_shown(row))])
    return text.getvalue().encode()


def retain(tx: Transaction, *, hours_before: int, days_before: int) -> int:
    """Take hours and days that began before these moments (Unix seconds) away; how many rows."""
    return tx.run("DELETE FROM usage_hours WHERE start < ?", hours_before) + tx.run(
        "DELETE FROM usage_days WHERE start < ?", days_before
    )


def _rows(db: Reader, query: UsageQuery, now: float, user_id: str | None) -> list[tuple[Any, ...]]:
    begin = _moment("from", query.from_) if query.from_ is not None else (int(now) // DAY - _DEFAULT_DAYS) * DAY
    end = _moment("to", query.to) if query.to is not None else int(now) + HOUR
    if end <= begin:
        raise ValidationError("The 'to' must be after the 'from'.", field="to", constraint="order")
    # days are exact where both ends are a day's; hours are kept for a shorter time
    by_day = query.interval != "hour" and begin % DAY == 0 and (end % DAY == 0 or query.to is None)
    table = "usage_days" if by_day else "usage_hours"
    start = {"hour": "start", "day": f"start / {DAY} * {DAY}"}.get(query.interval or "", "NULL")
    group = _GROUPS[query.group_by] if query.group_by is not None else "NULL"
    mine = " AND user_id = ?" if user_id is not None else ""
    return db.all(
        f"SELECT {start}, {group}, {_SUMS} FROM {table} WHERE start >= ? AND start < ?{mine}"  # noqa: S608 (constants)
        " GROUP BY 1, 2 HAVING SUM(requests) > 0 ORDER BY 1, 2",
        *(begin // HOUR * HOUR, end),
        *([user_id] if user_id is not None else []),
    )


def _shown(row: tuple[Any, ...]) -> UsageRow:
    start, group, *sums = row
    return UsageRow(start=None if start is None else rfc3339(start), group=group, **_sums(sums))


def _sums(sums: list[int]) -> dict[str, Any]:
    requests, prompt, completion, milliseconds, cost = sums
    return {
        "requests": requests,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "latency_ms": round(milliseconds / requests, 1) if requests else 0.0,
        "cost": cost / MILLION,
    }


def _moment(field: str, text: str) -> int:
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError) as cause:
        raise ValidationError(
            f"The '{field}' must be a date (2026-03-01) or a date-time (2026-03-01T10:30:00Z).",
            field=field,
            constraint="format",
        ) from cause


def _harmless(value: Any) -> Any:
    """A name that an administrator's spreadsheet would take for a formula, as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
