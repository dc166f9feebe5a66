"""Promise 30: when a delivery is tried again, and when no more; the clock is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate

import pytest

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict
from secureai_appliance.governance import deliveries, webhooks
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.deliveries import GIVE_UP_ATTEMPTS, SCHEDULE, Delivery, DeliveryQuery, Due, Outcome
from secureai_appliance.governance.webhooks import Webhook, WebhookPatch
from secureai_appliance.store import Store
from tests.support.audit import rows
from tests.support.clock import FakeClock
from tests.support.webhooks import Post

DAY = 24 * 3600


@pytest.fixture
def post(store: Store, clock: FakeClock) -> Iterator[Post]:
    made = Post(store, clock)
    yield made
    made.courier.stop(1)


def due(store: Store, clock: FakeClock) -> list[Due]:
    with store.read() as db:
        return deliveries.due(db, clock.now(), ())


def settle(store: Store, one: Due, clock: FakeClock, status: int | None = 500, **fields: str) -> None:
    outcome = Outcome(clock.now(), 7, status, None if status else "gone", "answer", fields.get("retry_after"))
    with store.transaction() as tx:
        deliveries.settle(tx, one, outcome, jitter=lambda: 1.0)


def all_of(store: Store, hook: Webhook) -> list[Delivery]:
    with store.read() as db:
        return deliveries.list_(db, hook.id, DeliveryQuery(sort="created_at")).data


def wait_for(store: Store, clock: FakeClock) -> tuple[Due, float]:
    """Move the clock second by second until something is due; what, and after how long."""
    for seconds in range(DAY):
        if found := due(store, clock):
            return found[0], seconds
        clock.advance(1)
    raise AssertionError("nothing is due for a day")


def test_attempts_follow_the_published_schedule_and_then_end(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("ada")
    pauses = []
    (one,) = due(store, clock)
    for _ in SCHEDULE:
        settle(store, one, clock)
        one, waited = wait_for(store, clock)
        pauses.append(waited)
    settle(store, one, clock)
    assert due(store, clock) == []
    assert SCHEDULE == (5, 30, 120, 600, 3600, 10800, 21600, 43200)
    assert all(pause <= waited <= pause * 1.1 + 1 for pause, waited in zip(SCHEDULE, pauses, strict=True)), pauses
    (delivery,) = all_of(store, hook)
    assert (delivery.status, delivery.next_attempt_at, len(delivery.attempts)) == ("failed", None, 9)
    first = delivery.attempts[0]
    assert (first.status, first.duration_ms, first.error, first.response) == (500, 7, None, "answer")


def test_jitter_never_shortens_a_pause(post: Post, store: Store, clock: FakeClock) -> None:
    post.hook("http://127.0.0.1:9")
    post.emit("ada")
    with store.transaction() as tx:
        deliveries.settle(tx, due(store, clock)[0], Outcome(clock.now(), 1, 500), jitter=lambda: 0.0)
    assert wait_for(store, clock)[1] == 5


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_retry_after_is_heeded(post: Post, store: Store, clock: FakeClock, kind: str) -> None:
    post.hook("http://127.0.0.1:9")
    post.emit("ada")
    asked = "700" if kind == "seconds" else formatdate(clock.now() + 700, usegmt=True)
    settle(store, due(store, clock)[0], clock, 503, retry_after=asked)
    assert wait_for(store, clock)[1] == 700


@pytest.mark.parametrize("asked", ["1", "soon", "-5", "9" * 400, ""])
def test_a_retry_after_that_is_nonsense_shortens_nothing_and_stops_nothing(
    post: Post, store: Store, clock: FakeClock, asked: str
) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("ada")
    settle(store, due(store, clock)[0], clock, 503, retry_after=asked)
    assert due(store, clock) == []
    assert all_of(store, hook)[0].next_attempt_at is not None
    clock.advance(DAY)
    assert len(due(store, clock)) == 1


def test_events_go_out_in_the_order_of_their_commits_and_a_failed_one_holds_none_up(
    post: Post, store: Store, clock: FakeClock
) -> None:
    post.hook("http://127.0.0.1:9")
    for name in ("a", "b", "c"):
        post.emit(name)
    order = []
    for status in (200, 500, 200):
        (one,) = due(store, clock)
        order.append(one.body)
        settle(store, one, clock, status)
    assert [body.split(b'"user_id":"')[1][:1] for body in order] == [b"a", b"b", b"c"]
    assert due(store, clock) == []
    assert b'"user_id":"b"' in wait_for(store, clock)[0].body


def test_410_disables_at_once_and_is_told(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    other = post.hook("http://127.0.0.1:9", "webhook.disabled")
    post.emit("ada")
    post.emit("bob")
    settle(store, due(store, clock)[0], clock, 410)
    shown = post.show(hook.id)
    assert (shown.status, shown.enabled, shown.disabled_because) == ("disabled", False, "gone")
    with store.read() as db:
        (row,) = [row for row in rows(db) if row.action == "webhook.disabled"]
    assert (row.target.id, row.details, row.actor.user_id) == (hook.id, {"reason": "gone"}, None)
    (notice,) = due(store, clock)
    assert notice.webhook_id == other.id
    assert b'"data":{"webhook_id":"%s","reason":"gone"}' % hook.id.encode() in notice.body


def test_three_days_of_failures_disable_and_enabling_delivers_what_waits(
    post: Post, store: Store, clock: FakeClock
) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("first")
    settle(store, due(store, clock)[0], clock, None)
    assert (post.show(hook.id).status, post.show(hook.id).failing_since) == ("failing", rfc3339(clock.now()))
    clock.advance(3 * DAY - 60)
    post.emit("second")
    for _ in range(GIVE_UP_ATTEMPTS):
        settle(store, due(store, clock)[0], clock)
        clock.advance(5)
        if not due(store, clock):
            post.emit("more")
    assert post.show(hook.id).enabled
    clock.advance(120)
    settle(store, due(store, clock)[0], clock)
    assert post.show(hook.id).disabled_because == "failing"
    clock.advance(DAY)
    assert due(store, clock) == []
    with store.transaction() as tx:
        webhooks.patch(tx, SYSTEM, hook.id, WebhookPatch(enabled=True))
    assert (post.show(hook.id).status, post.show(hook.id).disabled_because) == ("active", None)
    settle(store, due(store, clock)[0], clock, 204)
    assert "delivered" in {delivery.status for delivery in all_of(store, hook)}


def test_a_webhook_that_was_hardly_tried_in_three_days_is_not_given_up(
    post: Post, store: Store, clock: FakeClock
) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("a")
    settle(store, due(store, clock)[0], clock)
    for tries in range(2, GIVE_UP_ATTEMPTS):
        # the appliance was switched off, and its receiver starts more slowly than it
        clock.advance(3 * DAY)
        settle(store, due(store, clock)[0], clock)
        assert post.show(hook.id).enabled, tries
    clock.advance(3 * DAY)
    settle(store, due(store, clock)[0], clock)
    assert post.show(hook.id).disabled_because == "failing"


def test_a_test_that_fails_begins_no_count_of_days(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    with store.transaction() as tx:
        webhooks.send_test(tx, SYSTEM, hook.id)
    settle(store, due(store, clock)[0], clock)
    assert (post.show(hook.id).status, post.show(hook.id).failing_since) == ("active", None)


def test_a_success_ends_the_count_of_days(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("a")
    settle(store, due(store, clock)[0], clock)
    clock.advance(3 * DAY)
    settle(store, due(store, clock)[0], clock, 200)
    assert post.show(hook.id).status == "active"
    post.emit("b")
    settle(store, due(store, clock)[0], clock)
    assert post.show(hook.id).enabled


def test_redelivery_begins_the_schedule_anew_and_keeps_the_attempts(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("ada")
    settle(store, due(store, clock)[0], clock, 200)
    (before,) = all_of(store, hook)
    with store.transaction() as tx:
        again = deliveries.redeliver(tx, SYSTEM, before.id)
    assert (again.status, again.event_id, again.body) == ("pending", before.event_id, before.body)
    settle(store, due(store, clock)[0], clock, 500)
    assert wait_for(store, clock)[1] <= 6
    assert len(all_of(store, hook)[0].attempts) == 2


def test_a_test_is_tried_once_and_a_disabled_webhook_takes_none(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    with store.transaction() as tx:
        webhooks.send_test(tx, SYSTEM, hook.id)
    settle(store, due(store, clock)[0], clock, 500)
    (delivery,) = all_of(store, hook)
    assert (delivery.event, delivery.status) == ("webhook.test", "failed")
    with store.transaction() as tx:
        webhooks.patch(tx, SYSTEM, hook.id, WebhookPatch(enabled=False))
    with store.transaction() as tx:
        with pytest.raises(Conflict):
            webhooks.send_test(tx, SYSTEM, hook.id)
        with pytest.raises(Conflict):
            deliveries.redeliver(tx, SYSTEM, delivery.id)


def test_what_is_settled_after_its_webhook_has_gone_changes_nothing(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("ada")
    (one,) = due(store, clock)
    with store.transaction() as tx:
        webhooks.delete(tx, SYSTEM, hook.id)
    settle(store, one, clock, 500)
    with store.read() as db:
        assert db.value("SELECT count(*) FROM delivery_attempts") == 0


def test_retention_takes_old_events_with_everything_of_theirs(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    post.emit("old")
    settle(store, due(store, clock)[0], clock, 200)
    clock.advance(DAY)
    post.emit("new")
    with store.transaction() as tx:
        assert not deliveries.retain(tx, int(clock.now()))
    assert [one.status for one in all_of(store, hook)] == ["pending"]
    with store.read() as db:
        assert db.value("SELECT count(*) FROM delivery_attempts") == 0


def test_secrets_are_sealed_and_the_one_before_signs_for_a_day(post: Post, store: Store, clock: FakeClock) -> None:
    hook = post.hook("http://127.0.0.1:9")
    with store.transaction() as tx:
        rotated = webhooks.rotate_secret(tx, post.sealer, SYSTEM, hook.id)
    with store.read() as db:
        assert webhooks.secrets(db, post.sealer, hook.id, clock.now()) == [rotated.secret, hook.secret]
        assert webhooks.secrets(db, post.sealer, hook.id, clock.now() + DAY) == [rotated.secret]
    for path in store.path.parent.glob("*"):
        assert hook.secret.encode() not in path.read_bytes()
    clock.advance(DAY)
    with store.transaction() as tx:
        webhooks.forget_previous(tx)
    assert post.show(hook.id).previous_secret_until is None
