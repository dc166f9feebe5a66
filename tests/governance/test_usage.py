"""Usage: summed by hour and day, never lost by a failed write."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest

from secureai_appliance.core.errors import ServiceUnavailable, ValidationError
from secureai_appliance.governance import usage, usage_reports
from secureai_appliance.governance.prices import Price
from secureai_appliance.governance.usage import Usage, Used
from secureai_appliance.governance.usage_reports import Interval, UsagePage, UsageQuery
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

BEGIN = 1_770_000_000 // 86_400 * 86_400  # 2026-02-02
PRICES = {"big": Price(prompt=0.5, completion=1.5), "*": Price(prompt=0.1)}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(BEGIN)


@pytest.fixture
def counted(store: Store, clock: FakeClock) -> Usage:
    return Usage(store, clock, lambda: PRICES)


def used(user: str = "usr-a", model: str = "", prompt: int = 0, completion: int = 0, seconds: float = 0.5) -> Used:
    return Used(user, f"key-{user}", model, "", prompt, completion, seconds)


def report(store: Store, clock: FakeClock, query: UsageQuery | None = None, user_id: str | None = None) -> UsagePage:
    with store.read() as db:
        return usage_reports.report(db, query or UsageQuery(), clock.now(), user_id=user_id)


def test_requests_are_summed_by_hour_and_by_day(store: Store, clock: FakeClock, counted: Usage) -> None:
    for hour in range(30):
        clock.set(BEGIN + hour * 3600 + 1800)
        counted.add(used(model="big", prompt=100, completion=10, seconds=0.1))
        counted.add(used(user="usr-b", model="small", prompt=7))
        if hour % 7 == 0:
            counted.flush()
    counted.flush()
    hours = report(store, clock, UsageQuery(interval="hour", page_size=10, page=3))
    assert (hours.total, len(hours.data), hours.data[0].start) == (30, 10, "2026-02-02T20:00:00Z")
    days = report(store, clock, UsageQuery(interval="day", group_by="user"))
    assert [(row.start, row.group, row.requests, row.prompt_tokens) for row in days.data] == [
        ("2026-02-02T00:00:00Z", "usr-a", 24, 2400),
        ("2026-02-02T00:00:00Z", "usr-b", 24, 168),
        ("2026-02-03T00:00:00Z", "usr-a", 6, 600),
        ("2026-02-03T00:00:00Z", "usr-b", 6, 42),
    ]
    assert days.totals == hours.totals
    assert (days.totals.requests, days.totals.total_tokens) == (60, 30 * 117)
    assert days.totals.latency_ms == 300.0


def test_cost_is_the_price_of_the_model_at_the_time(store: Store, clock: FakeClock, counted: Usage) -> None:
    counted.add(used(model="big", prompt=1000, completion=2000))
    counted.add(used(model="small", prompt=500, completion=9000))
    counted.add(used())
    counted.flush()
    by_model = report(store, clock, UsageQuery(group_by="model"))
    assert [(row.group, row.cost) for row in by_model.data] == [("", 0.0), ("big", 3.5), ("small", 0.05)]


def test_ones_own_usage_is_that_of_nobody_else(store: Store, clock: FakeClock, counted: Usage) -> None:
    counted.add(used(prompt=5))
    counted.add(used(user="usr-b", prompt=50))
    counted.flush()
    mine = report(store, clock, UsageQuery(group_by="user"), user_id="usr-a")
    assert [row.group for row in mine.data] == ["usr-a"]
    assert mine.totals.prompt_tokens == 5


def test_from_counts_and_to_does_not(store: Store, clock: FakeClock, counted: Usage) -> None:
    for hour in range(48):
        clock.set(BEGIN + hour * 3600)
        counted.add(used())
    counted.flush()
    for begin, end, requests in (
        ("2026-02-02", "2026-02-03", 24),
        ("2026-02-02T05:00:00Z", "2026-02-02T07:00:00Z", 2),
        ("2026-02-02T23:30:00Z", "2026-02-03T01:00:00Z", 2),
    ):
        assert report(store, clock, UsageQuery(from_=begin, to=end)).totals.requests == requests
    for query in (UsageQuery(from_="yesterday"), UsageQuery(from_="2026-02-03", to="2026-02-03")):
        with pytest.raises(ValidationError):
            report(store, clock, query)


def test_what_could_not_be_written_is_written_the_next_time(
    store: Store, clock: FakeClock, counted: Usage, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted.add(used(prompt=3))
    with monkeypatch.context() as broken:

        def fail() -> None:
            raise ServiceUnavailable("full")

        broken.setattr(store, "transaction", fail)
        with pytest.raises(ServiceUnavailable):
            counted.flush()
    counted.add(used(prompt=4))
    counted.flush()
    counted.flush()
    assert report(store, clock).totals.prompt_tokens == 7


def test_old_hours_are_forgotten_before_their_days(store: Store, clock: FakeClock, counted: Usage) -> None:
    for day in range(5):
        clock.set(BEGIN + day * 86_400)
        counted.add(used())
    counted.flush()
    steps = 0
    more = True
    while more:
        with store.transaction() as tx:
            more = usage.retain(tx, hours_before=BEGIN + 3 * 86_400, days_before=BEGIN + 86_400)
        steps += 1
    assert steps == 3
    assert report(store, clock, UsageQuery(interval="day")).totals.requests == 4
    assert report(store, clock, UsageQuery(interval="hour")).totals.requests == 2


def exported(store: Store, clock: FakeClock, query: UsageQuery) -> list[dict[str, str]]:
    text = b"".join(usage_reports.as_csv(store, query, clock.now())).decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("model", ["=HYPERLINK(1)", "\n=1", "@x", "+1", "-1", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(store: Store, clock: FakeClock, counted: Usage, model: str) -> None:
    counted.add(used(model=model, prompt=2))
    counted.flush()
    rows = exported(store, clock, UsageQuery(group_by="model"))
    assert (rows[0]["group"], rows[0]["prompt_tokens"]) == (f"'{model}", "2")


@pytest.mark.parametrize("interval", [None, "hour", "day"])
def test_the_csv_has_the_rows_of_all_pages(
    store: Store, clock: FakeClock, counted: Usage, interval: Interval | None
) -> None:
    for hour in range(100):
        clock.set(BEGIN + hour * 3600)
        counted.add(used(f"usr-{hour % 3}", prompt=hour))
    counted.flush()
    query = UsageQuery(group_by="user", interval=interval, from_="2026-02-02T05:00:00Z", to="2026-02-06T03:00:00Z")
    pages: list[tuple[str, str, str]] = []
    total, number = 1, 1
    while len(pages) < total:
        page = report(store, clock, msgspec.structs.replace(query, page=number, page_size=7))
        total, number = page.total, number + 1
        pages += [(row.start or "", row.group or "", str(row.prompt_tokens)) for row in page.data]
    rows = [(row["start"], row["group"], row["prompt_tokens"]) for row in exported(store, clock, query)]
    assert rows == pages
    assert sum(int(row[2]) for row in rows) == sum(range(5, 99))


def test_days_count_where_the_hours_of_their_middle_are_forgotten(
    store: Store, clock: FakeClock, counted: Usage
) -> None:
    for hour in range(96):
        clock.set(BEGIN + hour * 3600)
        counted.add(used())
    counted.flush()
    with store.transaction() as tx:
        tx.run("DELETE FROM usage_hours WHERE start >= ? AND start < ?", BEGIN + 86_400, BEGIN + 3 * 86_400)
    query = UsageQuery(from_="2026-02-02T20:00:00Z", to="2026-02-05T02:00:00Z", interval="day")
    assert [row.requests for row in report(store, clock, query).data] == [4, 24, 24, 2]
