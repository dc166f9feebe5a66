"""Events: put down in the transaction of the change, for those who want to hear of them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import events
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.events import EVENTS, EventType, UserCreated
from secureai_appliance.governance.limits import Refused
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

DATA = UserCreated(user_id="usr-1", email="ada@example.org", role="user")


def hook(store: Store, name: str, *wanted: str, enabled: bool = True) -> None:
    with store.transaction() as tx:
        tx.run(
            "INSERT INTO webhooks (id, url, events, description, enabled, secret, created_at, updated_at)"
            " VALUES (?, 'http://127.0.0.1:9', ?, '', ?, x'00', 1, 1)",
            *(name, json.dumps(wanted), int(enabled)),
        )


def put_down(store: Store) -> list[tuple[str, str, Any]]:
    """Webhook, type and body of every delivery, in the order in which they go out."""
    with store.read() as db:
        rows = db.all(
            "SELECT d.webhook_id, e.type, e.body FROM deliveries d JOIN events e ON e.id = d.event_id ORDER BY d.row_id"
        )
    return [(name, kind, json.loads(body)) for name, kind, body in rows]


def test_every_kind_of_event_is_registered_with_its_data() -> None:
    assert set(EVENTS) == set(get_args(EventType))
    contract = {"chat.created", "chat.completed", "document.uploaded", "document.indexed"}
    assert contract | {"user.created", "user.role_changed"} <= set(EVENTS)


def test_an_event_is_put_down_for_each_enabled_webhook_that_wants_it(store: Store, clock: FakeClock) -> None:
    hook(store, "hook-1", "user.created", "chat.created")
    hook(store, "hook-2", "chat.created")
    hook(store, "hook-3", "user.created", enabled=False)
    hook(store, "hook-4", "user.created")
    with store.transaction() as tx:
        events.emit(tx, DATA)
    (first, kind, body), (second, _, same) = put_down(store)
    assert (first, second, kind) == ("hook-1", "hook-4", "user.created")
    assert body == same
    assert body["id"].startswith("evt-")
    assert body == {
        "id": body["id"],
        "event": "user.created",
        "timestamp": rfc3339(clock.now()),
        "data": {"user_id": "usr-1", "email": "ada@example.org", "role": "user"},
    }


def test_an_event_of_a_change_that_is_undone_is_never_told(store: Store) -> None:
    hook(store, "hook-1", "user.created")

    def fail() -> None:
        with store.transaction() as tx:
            events.emit(tx, DATA)
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        fail()
    assert put_down(store) == []


def test_what_nobody_wants_to_hear_is_not_stored(store: Store) -> None:
    hook(store, "hook-1", "chat.created")
    events.announce(store, DATA)
    with store.transaction() as tx:
        events.emit(tx, DATA)
    with store.read() as db:
        assert db.value("SELECT count(*) FROM events") == 0


def test_a_new_user_is_an_event_of_the_same_transaction(store: Store) -> None:
    hook(store, "hook-1", "user.created")
    with store.transaction() as tx:
        made = users.create(tx, email="ada@example.org", name="Ada", role="auditor")
    ((_, _, body),) = put_down(store)
    assert body["data"] == {"user_id": made.id, "email": "ada@example.org", "role": "auditor"}


def test_a_limit_is_told_once_in_each_window(store: Store, clock: FakeClock) -> None:
    hook(store, "hook-1", "limit.reached")
    quotas = Quotas(store, Configs(store, Sealer(b"k" * 32)), clock)
    quotas_used = 0
    for _ in range(13):
        try:
            quotas.admit("usr-1", "free", None, completion=False).release()
            quotas_used += 1
        except Refused as refused:
            resets_at = rfc3339(refused.standing.reset)
    assert quotas_used == 10
    ((_, kind, body),) = put_down(store)
    assert kind == "limit.reached"
    assert body["data"] == {"user_id": "usr-1", "window": "requests-minute", "limit": 10, "resets_at": resets_at}
    clock.advance(60)
    for _ in range(10):
        quotas.admit("usr-1", "free", None, completion=False).release()
    with pytest.raises(Refused):
        quotas.admit("usr-1", "free", None, completion=False)
    assert len(put_down(store)) == 2
