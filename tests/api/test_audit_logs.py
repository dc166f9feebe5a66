"""`/auditlogs` over real sockets."""

from __future__ import annotations

import csv
import io
import json

import pytest

from secureai_appliance.governance import audit, chain
from secureai_appliance.governance.audit import Actor
from tests.support.audit import rows
from tests.support.running import Running

LOGS = "/api/v1/auditlogs"


def record(api: Running, target: str, **more: str) -> None:
    with api.appliance.store.transaction() as tx:
        audit.record(tx, Actor("usr-logged", "key-logged", "10.9.9.9"), "test.done", "thing", target, details=more)


def test_a_row_is_listed_and_shown_alike(api: Running) -> None:
    record(api, "thing-shown", word="x")
    page = api.ask("GET", f"{LOGS}?target=thing-shown").json
    assert page["total"] == 1
    row = page["data"][0]
    assert row["actor"] == {"user_id": "usr-logged", "key_id": "key-logged", "ip": "10.9.9.9"}
    assert row["target"] == {"type": "thing", "id": "thing-shown"}
    assert (row["action"], row["outcome"], row["details"]) == ("test.done", "success", {"word": "x"})
    assert len(row["hash"]) == 64
    assert api.ask("GET", f"{LOGS}/{row['id']}").json == row
    assert api.ask("GET", f"{LOGS}/aud-none").status == 404


@pytest.mark.parametrize(
    "filters",
    ["actor=usr-logged", "actor=key-logged", "action=test.done", "target=thing-f", "target_type=thing", "q=thing-f"],
)
def test_a_filter_leaves_what_it_says_and_nothing_else(api: Running, filters: str) -> None:
    record(api, "thing-f")
    name, _, value = filters.partition("=")
    found = api.ask("GET", f"{LOGS}?{filters}&page_size=100").json["data"]
    assert any(row["target"]["id"] == "thing-f" for row in found)
    for row in found:
        shown = {"actor": list(row["actor"].values()), "action": [row["action"]], "target": [row["target"]["id"]]}
        assert value in (shown | {"target_type": [row["target"]["type"]]}).get(name, [value])
    assert not api.ask("GET", f"{LOGS}?outcome=denied&target=thing-f").json["data"]
    assert not api.ask("GET", f"{LOGS}?created_before=2020-01-01").json["data"]


def test_auditors_and_administrators_read_it_and_nobody_else_does(api: Running) -> None:
    auditor, user = api.make_user("auditor@example.test", "auditor"), api.make_user("reader@example.test")
    for path in (LOGS, f"{LOGS}/export", f"{LOGS}/verify"):
        assert api.ask("GET", path, key=auditor).status == 200
        assert api.ask("GET", path, key=user).status == 403


def test_an_export_holds_every_row_of_the_chain_in_both_forms(api: Running) -> None:
    record(api, "thing-e")
    exported = [json.loads(line) for line in api.ask("GET", f"{LOGS}/export").body.splitlines()]
    assert [row["number"] for row in exported] == list(range(1, exported[-1]["number"] + 1))
    with api.appliance.store.read() as db:
        assert [row["hash"] for row in exported] == [row.hash for row in rows(db)][: len(exported)]
    answer = api.ask("GET", f"{LOGS}/export?format=csv&target=thing-e")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert {line["target_id"] for line in lines} == {"thing-e"}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_of_a_csv_is_a_formula(api: Running, cell: str) -> None:
    record(api, cell)
    text = api.ask("GET", f"{LOGS}/export?format=csv&action=test.done").body.decode()
    cells = [value for line in csv.reader(io.StringIO(text, newline="")) for value in line]
    assert f"'{cell}" in cells
    assert cell not in cells


def test_an_export_is_itself_logged_with_who_took_it(api: Running) -> None:
    api.ask("GET", f"{LOGS}/export?target=none")
    last = api.ask("GET", f"{LOGS}?action=audit.exported&page_size=1").json["data"][0]
    assert last["actor"]["user_id"] == api.ask("GET", "/api/v1/me").json["id"]


def test_verification_says_that_the_log_is_whole_or_where_it_is_not(api: Running) -> None:
    record(api, "thing-v")
    found = api.ask("GET", f"{LOGS}/verify").json
    assert (found["ok"], found["breaks"], found["rows"]) == (True, [], found["count"])
    store = api.appliance.store
    with store.read() as db:
        number, row_id = db.all("SELECT row_id, id FROM audit_log WHERE target_id = 'thing-v'")[0]
    try:
        with store.transaction() as tx:
            tx.run("UPDATE audit_log SET target_id = 'thing-w' WHERE row_id = ?", number)
        found = api.ask("GET", f"{LOGS}/verify").json
        assert found["ok"] is False
        assert found["breaks"] == [{"kind": "altered", "first": number, "last": number, "id": row_id}]
    finally:
        with store.transaction() as tx:
            tx.run("UPDATE audit_log SET target_id = 'thing-v' WHERE row_id = ?", number)
    assert chain.verify(store, store.chain_key).ok


def test_a_refused_permission_is_logged_once_a_minute_with_its_count(api: Running) -> None:
    user = api.make_user("denied@example.test")
    for _ in range(5):
        assert api.ask("GET", f"{LOGS}/aud-secret", key=user).status == 403
    api.appliance._refusals.flush(api.appliance.store, 0, unfinished=True)
    me = api.ask("GET", "/api/v1/me", key=user).json["id"]
    found = api.ask("GET", f"{LOGS}?actor={me}&outcome=denied").json["data"]
    assert sum(row["details"]["count"] for row in found) == 5
    assert len(found) <= 2  # the minute may have ended in between
    assert {row["target"]["id"] for row in found} == {"GET /api/v1/auditlogs/{id}"}
