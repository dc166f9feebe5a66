"""Limits per address: who is counted, behind proxies too, and who is never refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.settings import Settings
from tests.support.audit import rows
from tests.support.clock import FakeClock
from tests.support.web import App, app_on

ME = "/api/v1/things"


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    with app_on(tmp_path, clock, Settings(trusted_proxies=("10.0.0.0/24",))) as app:
        with app.parts.store.transaction() as tx:
            app.parts.configs.put(tx, SYSTEM, "limits.failed_authentications_per_minute", 3)
        yield app


def wrong(app: App, peer: str, forwarded: str | None = None) -> tuple[int, str]:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    answer = app.call("GET", ME, key="sk-wrong", headers=headers, REMOTE_ADDR=peer)
    return answer.status, answer.headers["x-ratelimit-remaining"]


def test_behind_a_trusted_proxy_each_client_has_a_limit_of_its_own(app: App) -> None:
    assert [wrong(app, "10.0.0.1", "203.0.113.5") for _ in range(4)] == [(401, "2"), (401, "1"), (401, "0"), (429, "0")]
    assert wrong(app, "10.0.0.1", "203.0.113.6") == (401, "2")
    # another proxy of ours, the same client
    assert wrong(app, "10.0.0.2", "203.0.113.5") == (429, "0")
    # what the client itself has put before it counts for nothing
    assert wrong(app, "10.0.0.1", "198.51.100.1, 203.0.113.5") == (429, "0")
    shown = app.call("GET", "/healthz", key=None, headers={"X-Forwarded-For": "203.0.113.6"}, REMOTE_ADDR="10.0.0.1")
    assert shown.headers["ratelimit"].startswith('"failed-authentications-minute";r=2')


def test_nobody_else_chooses_the_address_that_they_count_under(app: App) -> None:
    told = [wrong(app, "203.0.113.9", f"198.51.100.{number}") for number in range(4)]
    assert told == [(401, "2"), (401, "1"), (401, "0"), (429, "0")]


def test_a_good_key_is_never_refused_for_the_wrong_ones_from_its_address(app: App) -> None:
    begin = threading.Barrier(9)
    answers: dict[str, list[int]] = {"good": [], "wrong": []}

    def run(kind: str) -> None:
        begin.wait()
        for _ in range(50):
            answer = app.call("GET", ME, key="" if kind == "good" else "sk-wrong")
            answers[kind].append(answer.status)

    threads = [threading.Thread(target=run, args=("wrong" if number else "good",)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers["good"] == [200] * 50
    assert sorted(answers["wrong"]) == [401] * 3 + [429] * 397


def test_the_answer_of_a_refused_address_agrees_with_itself(app: App, clock: FakeClock) -> None:
    clock.set(1_770_000_000 // 60 * 60 + 37.5)
    for _ in range(3):
        wrong(app, "203.0.113.5")
    refused = app.call("GET", ME, key=None, REMOTE_ADDR="203.0.113.5")
    error = refused.error
    assert (refused.status, error["retry_after"], refused.headers["retry-after"]) == (429, 23, "23")
    assert refused.headers["ratelimit"] == '"failed-authentications-minute";r=0;t=23'
    assert int(refused.headers["x-ratelimit-reset"]) == 1_770_000_000 // 60 * 60 + 60
    clock.advance(23)
    assert wrong(app, "203.0.113.5") == (401, "2")


def test_a_key_in_a_place_that_it_is_not_for_counts_as_a_wrong_one_and_is_noted(app: App, clock: FakeClock) -> None:
    with app.parts.store.transaction() as tx:
        bound = keys.create(tx, users.caller_of(tx, app.user_id), KeyCreate(name="b", allowed_ips=["192.0.2.1"])).key
    answers = [app.call("GET", ME, key=bound, REMOTE_ADDR="203.0.113.5") for _ in range(4)]
    assert [answer.status for answer in answers] == [403, 403, 403, 429]
    assert app.call("GET", ME, key=bound, REMOTE_ADDR="192.0.2.1").status == 200
    app.parts.refusals.flush(app.parts.store, clock.now(), unfinished=True)
    with app.parts.store.read() as db:
        (row,) = [row for row in rows(db) if row.action == "authentication.failed"]
    assert (row.actor.ip, row.details["count"], row.target.id) == ("203.0.113.5", 4, f"GET {ME}")
