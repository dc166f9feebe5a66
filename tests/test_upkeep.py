"""What the scheduler's jobs take away, and what they leave."""

from __future__ import annotations

import pytest

from secureai_appliance import upkeep
from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import events
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.events import WebhookTest
from secureai_appliance.store import Store
from secureai_appliance.web.idempotency import KEEP_SECONDS
from tests.support.clock import FakeClock
from tests.support.webhooks import Post

DAY = 24 * 3600


def count(store: Store, table: str) -> int:
    with store.read() as db:
        return int(db.value(f"SELECT count(*) FROM {table}"))


def test_keys_are_forgotten_three_months_after_their_end(store: Store, clock: FakeClock) -> None:
    with store.transaction() as tx:
        user = users.create(tx, email="ada@example.org", name="Ada", role="user")
        caller = users.caller_of(tx, user.id)
        kept = keys.create(tx, caller, KeyCreate(name="kept"))
        revoked = keys.create(tx, caller, KeyCreate(name="revoked"))
        expired = keys.create(tx, caller, KeyCreate(name="expired"))
        keys.revoke_any(tx, revoked.id)
        tx.run("UPDATE api_keys SET expires_at = ? WHERE id = ?", tx.now() + DAY, expired.id)
    clock.advance(90 * DAY - 60)
    upkeep._expired_credentials(store)
    assert count(store, "api_keys") == 3
    clock.advance(120)
    upkeep._expired_credentials(store)
    assert count(store, "api_keys") == 2
    clock.advance(DAY)
    upkeep._expired_credentials(store)
    with store.read() as db:
        assert db.all("SELECT id FROM api_keys") == [(kept.id,)]


@pytest.mark.parametrize("rows", [1, 45])
def test_answers_kept_for_idempotency_go_after_a_day_in_steps(store: Store, clock: FakeClock, rows: int) -> None:
    with store.transaction() as tx:
        for n in range(rows):
            tx.run(
                "INSERT INTO idempotency (caller, key, request_hash, state, created_at)"
                " VALUES ('a', ?, x'00', 'done', ?)",
                *(str(n), tx.now()),
            )
    assert not upkeep._expired_credentials(store)
    clock.advance(KEEP_SECONDS + 1)
    steps = 1
    while upkeep._expired_credentials(store):
        steps += 1
    assert count(store, "idempotency") == 0
    assert steps == rows // 20 + 1


def test_tokens_and_codes_of_oauth_go_when_they_have_ended(store: Store, clock: FakeClock) -> None:
    with store.transaction() as tx:
        user = users.create(tx, email="ada@example.org", name="Ada", role="user")
        tx.run(
            "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, scopes, created_at, updated_at)"
            " VALUES ('oac-1', 'c', '[]', '[]', '[]', 0, 0)"
        )
        for n in range(2):
            tx.run(
                "INSERT INTO oauth_grants (id, client_id, user_id, kind, scopes, expires_at, created_at, updated_at)"
                " VALUES (?, 'oac-1', ?, 'code', '[]', ?, 0, 0)",
                *(f"grant-{n}", user.id, tx.now() + n * DAY + 60),
            )
    clock.advance(DAY)
    assert not upkeep._expired_credentials(store)
    with store.read() as db:
        assert db.all("SELECT id FROM oauth_grants") == [("grant-1",)]


def test_deliveries_are_kept_for_as_long_as_the_setting_says(store: Store, clock: FakeClock) -> None:
    configs = Configs(store, Sealer(b"k" * 32))
    with store.transaction() as tx:
        configs.patch(tx, SYSTEM, {"webhooks.days_kept": 7})
    hook = Post(store, clock).hook("http://127.0.0.1:9")
    with store.transaction() as tx:
        for _ in range(600):
            events.deliver_to(tx, hook.id, events.put_down(tx, WebhookTest(webhook_id=hook.id)))
    clock.advance(7 * DAY)
    assert not upkeep._retain_deliveries(store, clock, configs)
    assert count(store, "deliveries") == 600
    clock.advance(1)
    assert upkeep._retain_deliveries(store, clock, configs)
    assert not upkeep._retain_deliveries(store, clock, configs)
    assert count(store, "deliveries") == count(store, "events") == 0
