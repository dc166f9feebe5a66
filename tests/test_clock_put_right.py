"""A clock that was a month ahead and was put right: nothing waits for a month, and nothing lasts a month longer."""

from __future__ import annotations

import pytest

from secureai_appliance.accounts import keys, sessions, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.accounts.second_factors import SecondFactors
from secureai_appliance.accounts.sessions import Browser, Lifetimes
from secureai_appliance.core.errors import AuthenticationError, NotFound
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import deliveries, webhooks
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.deliveries import Due, Outcome
from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.totp import code_of
from tests.support.webhooks import SEALER, Post

MONTH = 30 * 86_400
BROWSER = Browser("192.0.2.7", "test")


@pytest.fixture
def user_id(store: Store) -> str:
    with store.transaction() as tx:
        return users.create(tx, email="ada@example.org", name="Ada", role="user").id


def go_ahead(store: Store, clock: FakeClock) -> None:
    clock.set(clock.now() + MONTH)
    with store.transaction() as tx:
        tx.now()


@pytest.fixture
def put_right(store: Store, clock: FakeClock, user_id: str) -> None:
    go_ahead(store, clock)
    clock.set(clock.now() - MONTH)
    with store.transaction() as tx:
        assert (tx.now(), tx.wall()) == (int(clock.now()) + MONTH, int(clock.now()))


def due(store: Store, clock: FakeClock) -> list[Due]:
    with store.read() as db:
        return deliveries.due(db, clock.now(), ())


def fail(store: Store, clock: FakeClock) -> None:
    (one,) = due(store, clock)
    with store.transaction() as tx:
        deliveries.settle(tx, one, Outcome(clock.now(), 5, 500), jitter=lambda: 0.0)


@pytest.mark.usefixtures("put_right")
def test_deliveries_go_out_and_are_tried_again_as_ever(store: Store, clock: FakeClock) -> None:
    post = Post(store, clock)
    post.hook("http://127.0.0.1:9")
    post.emit("ada")
    fail(store, clock)
    assert not due(store, clock)
    clock.advance(5)
    assert due(store, clock)
    post.courier.stop(1)


def test_a_delivery_that_was_put_off_under_the_wrong_clock_goes_out(store: Store, clock: FakeClock) -> None:
    post = Post(store, clock)
    post.hook("http://127.0.0.1:9")
    go_ahead(store, clock)
    post.emit("ada")
    fail(store, clock)
    assert not due(store, clock)
    clock.set(clock.now() - MONTH)
    assert due(store, clock)
    post.courier.stop(1)


@pytest.mark.usefixtures("put_right")
def test_the_secret_before_signs_for_a_day(store: Store, clock: FakeClock) -> None:
    post = Post(store, clock)
    hook = post.hook("http://127.0.0.1:9")
    with store.transaction() as tx:
        webhooks.rotate_secret(tx, SEALER, SYSTEM, hook.id)
    clock.advance(webhooks.ROTATION_SECONDS)
    with store.read() as db:
        assert len(webhooks.secrets(db, SEALER, hook.id, clock.now())) == 1
    with store.transaction() as tx:
        webhooks.forget_previous(tx)
    assert post.show(hook.id).previous_secret_until is None
    post.courier.stop(1)


@pytest.mark.usefixtures("put_right")
def test_a_session_ends_when_it_was_idle(store: Store, clock: FakeClock, user_id: str) -> None:
    with store.transaction() as tx:
        secret = sessions.open_(tx, user_id, "link", BROWSER)
    with store.read() as db:
        caller = sessions.authenticate(db, secret, int(clock.now()), Lifetimes())
        assert caller is not None
        assert sessions.authenticate(db, secret, int(clock.now()) + 3600, Lifetimes()) is None


def test_a_session_of_the_wrong_month_is_over(store: Store, clock: FakeClock, user_id: str) -> None:
    go_ahead(store, clock)
    with store.transaction() as tx:
        secret = sessions.open_(tx, user_id, "link", BROWSER)
    clock.set(clock.now() - MONTH)
    with store.read() as db:
        assert sessions.authenticate(db, secret, int(clock.now()), Lifetimes()) is None
    with store.transaction() as tx:
        sessions.sweep(tx, Lifetimes())
        assert tx.value("SELECT COUNT(*) FROM sessions") == 0


@pytest.mark.usefixtures("put_right")
def test_a_sign_in_link_lasts_a_day(store: Store, clock: FakeClock, user_id: str) -> None:
    with store.transaction() as tx:
        token = sessions.create_link(tx, user_id)
    with store.read() as db:
        sessions.require_link(db, token, int(clock.now()))
        with pytest.raises(NotFound):
            sessions.require_link(db, token, int(clock.now()) + sessions.LINK_LIFETIME)


@pytest.mark.usefixtures("put_right")
def test_codes_of_a_second_factor_are_right(store: Store, clock: FakeClock, user_id: str) -> None:
    factors = SecondFactors(Sealer(bytes(32)))
    with store.transaction() as tx:
        factors.start(tx, user_id, SYSTEM)
        set_up = factors.set_up(tx, user_id, "ada@example.org")
        assert set_up is not None
        factors.confirm(tx, user_id, code_of(set_up.secret, clock.now()), SYSTEM)
    clock.advance(60)
    with store.transaction() as tx:
        assert factors.take(tx, user_id, code_of(set_up.secret, clock.now()), SYSTEM)


@pytest.mark.usefixtures("put_right")
def test_what_a_user_allowed_is_not_swept_away(store: Store, clock: FakeClock, user_id: str) -> None:
    with store.transaction() as tx:
        tx.run(
            "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, scopes, created_at, updated_at)"
            " VALUES ('oac-1', 'x', '[]', '[]', '[]', 0, 0)"
        )
        for _ in range(2):
            until = int(clock.now()) + 900
            grants.create(tx, "oac-1", user_id, kind="code", scopes=[], expires_at=until)
        assert tx.value("SELECT COUNT(*) FROM oauth_grants") == 2


@pytest.mark.usefixtures("put_right")
def test_a_rotated_key_works_through_its_grace_alone(store: Store, clock: FakeClock, user_id: str) -> None:
    with store.transaction() as tx:
        caller = users.caller_of(tx, user_id)
        made = keys.create(tx, caller, KeyCreate(name="k"))
        keys.rotate(tx, caller, made.id, 60)
    with store.read() as db:
        keys.authenticate(db, made.key, int(clock.now()) + 59)
        with pytest.raises(AuthenticationError):
            keys.authenticate(db, made.key, int(clock.now()) + 60)
