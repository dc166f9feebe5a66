"""`/configs` over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secureai_appliance.governance.config_table import SETTINGS
from tests.support.limits import lift_limits
from tests.support.running import Running

KEY = "limits.failed_authentications_per_minute"
ONE = f"/api/v1/configs/{KEY}"


@pytest.fixture(autouse=True)
def put_back(api: Running) -> Iterator[None]:
    yield
    lift_limits(api.appliance.store, api.appliance.configs)


def test_all_settings_are_listed_by_group_and_described(api: Running) -> None:
    answer = api.ask("GET", "/api/v1/configs").json
    assert [config["key"] for config in answer["data"]] == sorted(setting.key for setting in SETTINGS)
    assert answer["total"] == len(SETTINGS)
    shown = next(config for config in answer["data"] if config["key"] == KEY)
    assert {"group": "limits", "type": "integer", "default": 60, "restart_required": False}.items() <= shown.items()
    assert shown["validation"] == {"type": "integer", "minimum": 0, "maximum": 1_000_000}
    assert api.ask("GET", "/api/v1/configs?group=none").json["data"] == []
    assert len(api.ask("GET", "/api/v1/configs?page_size=1").json["data"]) == 1


def test_a_setting_is_read_changed_and_put_back(api: Running) -> None:
    changed = api.ask("PUT", ONE, {"value": 500})
    assert (changed.status, changed.json["value"]) == (200, 500)
    assert api.ask("GET", ONE).json == changed.json
    assert api.appliance.configs.value(KEY) == 500
    assert api.ask("DELETE", ONE).status == 204
    assert api.ask("GET", ONE).json["value"] == 60


def test_a_bad_value_is_400_and_names_the_key(api: Running) -> None:
    for method, path, body in (
        ("PUT", ONE, {"value": -1}),
        ("PATCH", "/api/v1/configs", {"values": {KEY: -1}}),
        ("POST", "/api/v1/configs/import", {"format": "secureai-configs-1", "values": {KEY: -1}}),
    ):
        answer = api.ask(method, path, body)
        assert answer.status == 400
        assert answer.json["error"]["details"] == {"field": KEY, "constraint": "minimum"}
    assert api.ask("PUT", "/api/v1/configs/none", {"value": 1}).status == 404


def test_many_are_changed_at_once_and_an_export_is_imported(api: Running) -> None:
    before = api.ask("GET", "/api/v1/configs/export").json
    assert api.ask("PATCH", "/api/v1/configs", {"values": {KEY: 700}}).json["values"][KEY] == 700
    assert api.ask("POST", "/api/v1/configs/import", before).json == before
    assert api.ask("GET", ONE).json["value"] == before["values"][KEY]


def test_an_import_of_what_is_there_already_changes_and_records_nothing(api: Running) -> None:
    before = api.ask("GET", "/api/v1/configs/export").json
    tiers = before["values"]["limits.tiers"]
    api.ask("PUT", "/api/v1/configs/limits.tiers", {"value": tiers})
    known = api.ask("GET", "/api/v1/auditlogs?action=config.changed").json["total"]
    for _ in range(2):
        imported = api.ask("POST", "/api/v1/configs/import", before)
        assert imported.status == 200
        assert imported.json == before
        assert api.ask("PUT", "/api/v1/configs/limits.tiers", {"value": tiers}).status == 200
    assert api.ask("GET", "/api/v1/auditlogs?action=config.changed").json["total"] == known


@pytest.mark.parametrize("host", ["*", "*.example.org", "http://parts.example.org", "a b", "x:99999", "x/y", "u@x"])
def test_tools_are_allowed_hosts_and_nothing_that_looks_like_one(api: Running, host: str) -> None:
    assert api.ask("PUT", "/api/v1/configs/tools.allowed_hosts", {"value": [host]}).status == 400


def test_a_stale_if_match_changes_no_setting(api: Running) -> None:
    tag = {"If-Match": api.ask("GET", ONE).headers["etag"]}
    every = {"If-Match": api.ask("GET", "/api/v1/configs/export").headers["etag"]}
    assert api.ask("PUT", ONE, {"value": 800}, headers=tag).status == 200
    assert api.ask("PUT", ONE, {"value": 900}, headers=tag).status == 412
    assert api.ask("DELETE", ONE, headers=tag).status == 412
    assert api.ask("PATCH", "/api/v1/configs", {"values": {KEY: 900}}, headers=every).status == 412
    assert api.ask("GET", ONE).json["value"] == 800


def test_only_administrators_see_and_change_settings(api: Running) -> None:
    key = api.make_user("configs@example.org")
    assert api.ask("GET", "/api/v1/configs", key=key).status == 403
    assert api.ask("PUT", ONE, {"value": 1}, key=key).status == 403


def test_a_flood_of_wrong_keys_stops_none_that_is_right(api: Running) -> None:
    api.ask("PUT", ONE, {"value": 5})
    answers = [api.ask("GET", "/api/v1/me", key="sk-wrong") for _ in range(12)]
    # a minute may end in between, so that twice as many pass
    refused = next(answer for answer in answers if answer.status != 401)
    assert refused.status == 429
    error = refused.json["error"]
    assert error["message"] == f"Rate limit exceeded. Retry after {error['retry_after']} seconds."
    assert refused.headers["retry-after"] == str(error["retry_after"])
    assert api.ask("GET", "/api/v1/me").status == 200
    assert api.ask("GET", "/healthz", key=None).status == 200
