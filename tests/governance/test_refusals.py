from __future__ import annotations

from pathlib import Path

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance import refusals
from secureai_appliance.governance.audit import Actor, AuditLog, read_of_others
from secureai_appliance.governance.refusals import Refusal, Refusals
from secureai_appliance.store import Store
from tests.support.audit import open_audited, rows
from tests.support.clock import FakeClock

MIDNIGHT = 1_700_006_400


def failed(ip: str) -> Refusal:
    return Refusal("authentication.failed", Actor(ip=ip), "route", "GET /api/v1/me", "failure")


def logged(store: Store) -> list[AuditLog]:
    with store.read() as db:
        return rows(db)


def test_a_thousand_failures_of_an_address_in_a_minute_are_one_row(store: Store) -> None:
    seen = Refusals()
    for n in range(1000):
        seen.note(failed("10.0.0.1"), MIDNIGHT + n % 60)
    seen.note(failed("10.0.0.2"), MIDNIGHT + 1)
    seen.flush(store, MIDNIGHT + 60)
    assert [(row.actor.ip, row.details["count"]) for row in logged(store)] == [("10.0.0.1", 1000), ("10.0.0.2", 1)]
    assert logged(store)[0].details["first"] == "2023-11-15T00:00:00Z"
    assert logged(store)[0].outcome == "failure"


def test_the_minute_that_runs_is_not_written_before_it_is_over_but_at_a_stop(store: Store) -> None:
    seen = Refusals()
    seen.note(failed("10.0.0.1"), MIDNIGHT)
    seen.flush(store, MIDNIGHT + 59)
    assert logged(store) == []
    seen.flush(store, MIDNIGHT + 59, unfinished=True)
    seen.flush(store, MIDNIGHT + 120)
    assert len(logged(store)) == 1


def test_more_addresses_than_there_is_room_for_are_counted_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST", 3)
    seen = Refusals()
    for n in range(10):
        seen.note(failed(f"10.0.0.{n}"), MIDNIGHT)
    seen.flush(store, MIDNIGHT + 60)
    assert [(row.actor.ip, row.details["count"]) for row in logged(store)][-1] == (None, 7)
    assert len(logged(store)) == 4


def test_what_can_not_be_written_is_kept(tmp_path: Path, clock: FakeClock, store: Store) -> None:
    seen = Refusals()
    seen.note(failed("10.0.0.1"), MIDNIGHT)
    closed = open_audited(tmp_path / "closed.db", clock)
    closed.close()
    seen.flush(closed, MIDNIGHT + 60)
    seen.flush(store, MIDNIGHT + 60)
    assert len(logged(store)) == 1


def test_reading_what_is_anothers_is_logged_before_it_is_shown(tmp_path: Path, store: Store, clock: FakeClock) -> None:
    read_of_others(store, Actor("usr-admin", "key-1", "10.0.0.1"), "chat", "chat-1", "usr-owner")
    row = logged(store)[0]
    assert (row.action, row.actor.user_id, row.target.id) == ("content.read", "usr-admin", "chat-1")
    assert row.details == {"owner_id": "usr-owner"}
    closed = open_audited(tmp_path / "closed.db", clock)
    closed.close()
    with pytest.raises(ServiceUnavailable):
        read_of_others(closed, Actor("usr-admin"), "chat", "chat-1", "usr-owner")
