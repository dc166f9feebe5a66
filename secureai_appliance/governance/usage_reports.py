"""What was used, as pages and as CSV: whole days of the days' sums, the hours at both ends of the hours'."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from secureai_appliance.core.clock import parse_rfc3339, rfc3339
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.governance.usage import DAY, HOUR, MILLION
from secureai_appliance.store import Reader, Store

_DEFAULT_DAYS = 30

Group = Literal["user", "key", "model", "assistant"]
Interval = Literal["hour", "day"]
Moment = Annotated[str, Meta(max_length=40)]


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


_SUMMED = ("requests", "prompt_tokens", "completion_tokens", "milliseconds", "cost")
_SUMS = ", ".join(f"SUM({name}) AS {name}" for name in _SUMMED)
_GROUPS = {"user": "user_id", "key": "key_id", "model": "model", "assistant": "assistant_id"}


class _Span(NamedTuple):
    """Unix seconds, from the beginning of an hour (inclusive) to `end`."""

    begin: int
    end: int


def report(db: Reader, query: UsageQuery, now: float, *, user_id: str | None = None) -> UsagePage:
    """A page of sums, of everybody or of one user. Raises ValidationError."""
    sql, params = _grouped(query, _span(query, now), user_id)
    total, *sums = db.all(f"SELECT COUNT(*), {_SUMS} FROM ({sql})", *params)[0]  # noqa: S608 (constants)
    rows = db.all(f"{sql} ORDER BY 1, 2 LIMIT ? OFFSET ?", *params, query.page_size, (query.page - 1) * query.page_size)
    return UsagePage(
        data=[_shown(row) for row in rows],
        total=total,
        page=query.page,
        page_size=query.page_size,
        totals=Sums(**_sums([amount or 0 for amount in sums])),
    )


def as_csv(store: Store, query: UsageQuery, now: float) -> Iterator[bytes]:
    """All rows as CSV, with a line of names (RFC 4180, UTF-8). By hour or day it is read a day at a time.

    Raises ValidationError before the first piece.
    """
    span = _span(query, now)
    return _pieces(store, query, span)


def _pieces(store: Store, query: UsageQuery, span: _Span) -> Iterator[bytes]:
    yield _lines([list(UsageRow.__struct_fields__)])
    with store.read() as db:
        parts = [span] if query.interval is None else _days(db, span)
    for part in parts:
        sql, params = _grouped(query, part, None)
        with store.read() as db:
            rows = db.all(f"{sql} ORDER BY 1, 2", *params)
        yield _lines([[_harmless(value) for value in msgspec.structs.astuple(_shown(row))] for row in rows])


def _lines(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _days(db: Reader, span: _Span) -> list[_Span]:
    """The days of a span in which anything was used."""
    rows = db.all(
        "SELECT DISTINCT start FROM usage_days WHERE start > ? AND start < ? ORDER BY start", span.begin - DAY, span.end
    )
    return [_Span(max(span.begin, day), min(span.end, day + DAY)) for (day,) in rows]


def _span(query: UsageQuery, now: float) -> _Span:
    begin = _moment("from", query.from_) if query.from_ is not None else (int(now) // DAY - _DEFAULT_DAYS) * DAY
    # without an end: all of the day that runs
    end = _moment("to", query.to) if query.to is not None else (int(now) // DAY + 1) * DAY
    if end <= begin:
        raise ValidationError("The 'to' must be after the 'from'.", field="to", constraint="order")
    return _Span(begin // HOUR * HOUR, end)


def _grouped(query: UsageQuery, span: _Span, user_id: str | None) -> tuple[str, list[Any]]:
    """A query for the sums, and its parameters."""
    start = {"hour": "start", "day": f"start / {DAY} * {DAY}"}.get(query.interval or "", "NULL")
    group = _GROUPS[query.group_by] if query.group_by is not None else "NULL"
    mine = " AND user_id = ?" if user_id is not None else ""
    selects: list[str] = []
    params: list[Any] = []
    for table, begin, end in _tables(span, hourly=query.interval == "hour"):
        selects.append(f"SELECT * FROM {table} WHERE start >= ? AND start < ?{mine}")  # noqa: S608 (constants)
        params += [begin, end, *([] if user_id is None else [user_id])]
    source = " UNION ALL ".join(selects)
    return f"SELECT {start} AS start, {group} AS grp, {_SUMS} FROM ({source}) GROUP BY 1, 2", params  # noqa: S608


def _tables(span: _Span, *, hourly: bool) -> list[tuple[str, int, int]]:
    """Where the sums of a span stand: hours are kept for a shorter time, so that only its ends come from them."""
    first, last = -(-span.begin // DAY) * DAY, span.end // DAY * DAY
    if hourly or first >= last:
        return [("usage_hours", *span)]
    found = [("usage_hours", span.begin, first), ("usage_days", first, last), ("usage_hours", last, span.end)]
    return [part for part in found if part[1] < part[2]]


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
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"} else value
