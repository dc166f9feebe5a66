"""`/webhooks` of a running appliance: from the change to the receiver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from secureai_appliance.governance.events import EVENTS
from secureai_appliance.upkeep import DELIVERIES
from tests.support.oauth import session_of
from tests.support.running import PATIENCE, Running
from tests.support.scripted import Heard
from tests.support.webhooks import Receiver, receiver

NODE = Path(__file__).parents[1] / "clients" / "node"
HOOKS = "/api/v1/webhooks"


@pytest.fixture
def good() -> Iterator[Receiver]:
    with receiver() as started:
        yield started


@pytest.fixture
def made(api: Running) -> Iterator[list[str]]:
    """Paths of webhooks that are removed at the end."""
    paths: list[str] = []
    yield paths
    for path in paths:
        api.ask("DELETE", path)


def hook(api: Running, made: list[str], url: str, *events: str) -> dict[str, Any]:
    answer = api.ask("POST", HOOKS, {"url": url, "events": events or ["user.created"]})
    assert answer.status == 201, answer.body
    made.append(f"{HOOKS}/{answer.json['id']}")
    shown: dict[str, Any] = answer.json
    return shown


def delivered(api: Running, good: Receiver) -> Heard:
    """The next delivery, which the scheduler is told to make at once."""
    api.appliance._scheduler.wake(DELIVERIES)
    return good.next()


def settled(api: Running, delivery_id: str) -> dict[str, Any]:
    """A delivery once its outcome is stored."""
    for _ in range(1000):
        shown: dict[str, Any] = api.ask("GET", f"{HOOKS}/deliveries/{delivery_id}").json
        if shown["attempts"]:
            return shown
    raise AssertionError(shown)


def test_a_webhook_lives_through_create_show_list_patch_and_delete(api: Running, made: list[str]) -> None:
    created = hook(api, made, "http://127.0.0.1:9/a", "user.created", "chat.completed", "user.created")
    path = f"{HOOKS}/{created['id']}"
    assert created.pop("secret").startswith("whsec_")
    assert created["events"] == ["chat.completed", "user.created"]
    shown = api.ask("GET", path)
    assert shown.json == created
    assert (created["status"], created["enabled"], created["disabled_because"]) == ("active", True, None)
    assert created in api.ask("GET", f"{HOOKS}?q=127.0.0.1:9/a").json["data"]
    changed = api.ask("PATCH", path, {"enabled": False}, headers={"If-Match": shown.headers["etag"]})
    assert (changed.json["status"], changed.json["disabled_because"]) == ("disabled", None)
    assert api.ask("PATCH", path, {"enabled": True}, headers={"If-Match": shown.headers["etag"]}).status == 412
    assert api.ask("POST", f"{path}/test").status == 409
    assert api.ask("DELETE", path).status == 204
    assert api.ask("GET", path).status == api.ask("GET", f"{path}/deliveries").status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://127.0.0.1/", "events": ["user.created"]}, "url"),
        ({"url": "http://user:pass@127.0.0.1/", "events": ["user.created"]}, "url"),
        ({"url": "http://127.0.0.1/", "events": []}, "events"),
        ({"url": "http://127.0.0.1/", "events": ["webhook.test"]}, "events.0"),
        ({"url": "http://127.0.0.1/", "events": ["user.created"], "secret": "mine"}, "secret"),
    ],
)
def test_a_bad_webhook_is_refused_by_field(api: Running, body: dict[str, Any], field: str) -> None:
    answer = api.ask("POST", HOOKS, body)
    assert (answer.status, answer.json["error"]["details"]["field"]) == (400, field)


def test_an_ordinary_user_and_an_auditor_are_kept_out(api: Running) -> None:
    for role in ("user", "auditor"):
        key = api.make_user(f"hooks-{role}@example.test", role=role)
        assert api.ask("GET", HOOKS, key=key).status == 403


def test_a_repeated_create_shows_the_secret_once(api: Running, made: list[str]) -> None:
    body = {"url": "http://127.0.0.1:9/once", "events": ["user.created"]}
    first, again = (api.ask("POST", HOOKS, body, headers={"Idempotency-Key": "hook-once"}) for _ in range(2))
    made.append(f"{HOOKS}/{first.json['id']}")
    assert first.json["id"] == again.json["id"]
    assert first.json["secret"].encode() not in again.body


def test_user_created_and_user_role_changed_field_by_field(api: Running, made: list[str], good: Receiver) -> None:
    secret = hook(api, made, good.url, "user.created", "user.role_changed")["secret"]
    body = {"email": "hooked@example.test", "name": "Hooked", "role": "user"}
    user_id = api.ask("POST", "/api/v1/users", body).json["id"]
    changed = api.ask("PATCH", f"/api/v1/users/{user_id}", {"role": "auditor"})
    assert changed.status == 200, changed.body
    created, role_changed = delivered(api, good), delivered(api, good)
    for heard in (created, role_changed):
        Verifier(secret).verify(heard.body, heard.headers)
        assert heard.method == "POST"
        assert set(heard.json) == {"id", "event", "timestamp", "data"}
        assert heard.json["id"] == heard.headers["webhook-id"]
    assert (created.json["event"], role_changed.json["event"]) == ("user.created", "user.role_changed")
    assert created.json["timestamp"] == api.ask("GET", f"/api/v1/users/{user_id}").json["created_at"]
    assert role_changed.json["timestamp"] == changed.json["updated_at"]
    assert created.json["data"] == {"user_id": user_id, "email": "hooked@example.test", "role": "user"}
    assert role_changed.json["data"] == {
        "user_id": user_id,
        "old_role": "user",
        "new_role": "auditor",
        "changed_by": api.ask("GET", "/api/v1/me").json["id"],
    }


def test_a_test_is_delivered_and_shown_and_delivered_again(api: Running, made: list[str], good: Receiver) -> None:
    webhook_id = hook(api, made, good.url)["id"]
    asked = api.ask("POST", f"{HOOKS}/{webhook_id}/test")
    assert (asked.status, asked.json["status"]) == (202, "pending")
    heard = delivered(api, good)
    assert heard.json["event"] == "webhook.test"
    assert heard.json["data"] == {"webhook_id": webhook_id}
    shown = settled(api, asked.json["id"])
    assert (shown["status"], shown["next_attempt_at"], shown["body"]) == ("delivered", None, heard.json)
    assert [(one["status"], one["error"], one["response"]) for one in shown["attempts"]] == [(200, None, "noted")]
    listed = api.ask("GET", f"{HOOKS}/{webhook_id}/deliveries?status=delivered").json
    assert (listed["total"], listed["data"]) == (1, [shown])
    assert api.ask("POST", f"{HOOKS}/deliveries/{shown['id']}/redeliver").status == 202
    again = delivered(api, good)
    assert again.body == heard.body
    assert again.headers["webhook-id"] == heard.headers["webhook-id"]


def test_the_other_secret_verifies_too_while_one_is_rotated(api: Running, made: list[str], good: Receiver) -> None:
    created = hook(api, made, good.url)
    rotated = api.ask("POST", f"{HOOKS}/{created['id']}/rotate-secret").json
    assert rotated["previous_secret_until"] is not None
    api.ask("POST", f"{HOOKS}/{created['id']}/test")
    heard = delivered(api, good)
    for secret in (created["secret"], rotated["secret"]):
        Verifier(secret).verify(heard.body, heard.headers)


def test_one_that_is_gone_is_disabled_and_administrators_are_told_on_the_first_page(
    api: Running, made: list[str], good: Receiver
) -> None:
    webhook_id = hook(api, made, good.url)["id"]
    good.statuses = [410]
    delivery_id = api.ask("POST", f"{HOOKS}/{webhook_id}/test").json["id"]
    delivered(api, good)
    settled(api, delivery_id)
    shown = api.ask("GET", f"{HOOKS}/{webhook_id}").json
    assert (shown["status"], shown["disabled_because"]) == ("disabled", "gone")
    api.make_user("notices@example.test")
    page = api.ask("GET", "/", key=None, headers=session_of(api, "admin@localhost"))
    assert webhook_id.encode() in page.body
    for headers in ({}, session_of(api, "notices@example.test")):
        assert webhook_id.encode() not in api.ask("GET", "/", key=None, headers=headers).body
    api.ask("PATCH", f"{HOOKS}/{webhook_id}", {"enabled": True})
    page = api.ask("GET", "/", key=None, headers=session_of(api, "admin@localhost"))
    assert webhook_id.encode() not in page.body


def test_the_description_names_every_event_with_its_data(api: Running) -> None:
    described = api.ask("GET", "/api/v1/openapi.json").json
    assert set(described["webhooks"]) == set(EVENTS)
    body = described["webhooks"]["user.role_changed"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    data = described["components"]["schemas"][body["properties"]["data"]["$ref"].rpartition("/")[2]]
    assert set(data["properties"]) == {"user_id", "old_role", "new_role", "changed_by"}


SCRIPT = """
import { Webhook } from "standardwebhooks";
const { body, headers, secret } = JSON.parse(process.env.DELIVERY);
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
let refused = false;
try { new Webhook(secret).verify(body + " ", headers); } catch { refused = true; }
console.log(refused);
"""


def test_the_public_library_for_javascript_verifies(api: Running, made: list[str], good: Receiver) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules" / "standardwebhooks").is_dir():
        if os.environ.get("CI"):
            pytest.fail("node or its packages are missing: packaging/test.sh installs them")
        pytest.skip("node is not installed: the JavaScript library was not tried")
    created = hook(api, made, good.url)
    api.ask("POST", f"{HOOKS}/{created['id']}/test")
    heard = delivered(api, good)
    delivery = {"body": heard.body.decode(), "headers": heard.headers, "secret": created["secret"]}
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT],
        cwd=NODE,
        env={**os.environ, "DELIVERY": json.dumps(delivery)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    verified, refused = done.stdout.splitlines()
    assert json.loads(verified) == heard.json
    assert refused == "true"
