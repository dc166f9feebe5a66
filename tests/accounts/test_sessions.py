from __future__ import annotations

import pytest

from secureai_appliance.accounts import sessions, users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sessions import Browser, Lifetimes
from secureai_appliance.core.errors import NotFound
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.store import ListQuery, Store
from tests.support.clock import FakeClock

LASTING = Lifetimes()
BROWSER = Browser("192.0.2.7", "Firefox\x1b[2J/1.0")


def make_user(store: Store, email: str = "ada@example.org") -> str:
    with store.transaction() as tx:
        return users.create(tx, email=email, name="Ada", role="user").id


def open_session(store: Store, user_id: str) -> str:
    with store.transaction() as tx:
        return sessions.open_(tx, user_id, "password", BROWSER)


def find(store: Store, clock: FakeClock, secret: str) -> Caller | None:
    with store.read() as db:
        return sessions.authenticate(db, secret, int(clock.now()), LASTING)


def found(store: Store, clock: FakeClock, secret: str) -> Caller:
    caller = find(store, clock, secret)
    assert caller is not None
    return caller


def test_a_sign_in_link_works_once(store: Store, clock: FakeClock) -> None:
    user_id = make_user(store)
    with store.transaction() as tx:
        token = sessions.create_link(tx, user_id)
    with store.transaction() as tx:
        assert sessions.redeem_link(tx, token) == user_id
    with pytest.raises(NotFound, match="used already"), store.transaction() as tx:
        sessions.redeem_link(tx, token)
    with store.read() as db, pytest.raises(NotFound):
        sessions.require_link(db, token, int(clock.now()))


def test_a_link_that_is_too_old_and_one_of_a_disabled_user_do_not_work(store: Store, clock: FakeClock) -> None:
    user_id = make_user(store)
    with store.transaction() as tx:
        late, disabled = sessions.create_link(tx, user_id), sessions.create_link(tx, user_id)
        tx.run("UPDATE users SET disabled = 1")
    with pytest.raises(NotFound), store.transaction() as tx:
        sessions.redeem_link(tx, disabled)
    with store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 0")
    clock.advance(sessions.LINK_LIFETIME)
    with pytest.raises(NotFound), store.transaction() as tx:
        sessions.redeem_link(tx, late)


def test_a_session_ends_when_it_was_idle_for_too_long_to_the_second(store: Store, clock: FakeClock) -> None:
    secret = open_session(store, make_user(store))
    clock.advance(LASTING.idle - 1)
    assert find(store, clock, secret)
    clock.advance(1)
    assert find(store, clock, secret) is None


def test_a_session_in_use_ends_after_its_longest_time(store: Store, clock: FakeClock) -> None:
    secret = open_session(store, make_user(store))
    session_id = found(store, clock, secret).session_id
    assert session_id is not None
    for _ in range(LASTING.whole // 1800 - 1):
        clock.advance(1800)
        sessions.touch(store, session_id, int(clock.now()))
        assert find(store, clock, secret)
    clock.advance(1800)
    assert find(store, clock, secret) is None


def test_a_page_that_is_looked_at_often_writes_once_a_minute(store: Store, clock: FakeClock) -> None:
    clock.set(1_770_000_000 - 1_770_000_000 % 60)
    caller = found(store, clock, open_session(store, make_user(store)))
    assert caller.session_id is not None
    clock.advance(59)
    with store.read() as db:
        before = db.value("SELECT last_seen_at FROM sessions")
    sessions.touch(store, caller.session_id, int(clock.now()))
    with store.read() as db:
        assert db.value("SELECT last_seen_at FROM sessions") == before
    clock.advance(1)
    sessions.touch(store, caller.session_id, int(clock.now()))
    with store.read() as db:
        assert db.value("SELECT last_seen_at FROM sessions") == before + 60


def test_the_session_of_a_disabled_user_ends(store: Store, clock: FakeClock) -> None:
    secret = open_session(store, make_user(store))
    with store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1")
    assert find(store, clock, secret) is None


def test_a_user_sees_the_own_open_sessions_and_which_one_asks(store: Store, clock: FakeClock) -> None:
    ada, bob = make_user(store), make_user(store, "bob@example.org")
    secret, _, _ = open_session(store, ada), open_session(store, ada), open_session(store, bob)
    caller = found(store, clock, secret)
    with store.read() as db:
        page = sessions.list_(db, caller, ListQuery(), int(clock.now()), LASTING)
    assert page.total == 2
    assert [session.current for session in page.data] == [False, True]
    assert {session.agent for session in page.data} == {"Firefox[2J/1.0"}  # a terminal could be sent it
    clock.advance(LASTING.idle)
    with store.read() as db:
        assert sessions.list_(db, caller, ListQuery(), int(clock.now()), LASTING).total == 0


def test_anothers_session_is_the_same_404_as_a_missing_one(store: Store, clock: FakeClock) -> None:
    ada = found(store, clock, open_session(store, make_user(store)))
    bob = found(store, clock, open_session(store, make_user(store, "bob@example.org")))
    messages = set()
    for session_id in (ada.session_id, "ses-none"):
        assert session_id is not None
        with pytest.raises(NotFound) as raised, store.transaction() as tx:
            sessions.end(tx, bob, session_id, LASTING)
        messages.add(raised.value.message)
    assert len(messages) == 1


def test_ending_the_others_leaves_the_one_that_asks(store: Store, clock: FakeClock) -> None:
    user_id = make_user(store)
    kept, ended = open_session(store, user_id), open_session(store, user_id)
    with store.transaction() as tx:
        assert sessions.end_all(tx, user_id, SYSTEM, but=found(store, clock, kept).session_id) == 1
    assert find(store, clock, kept)
    assert find(store, clock, ended) is None


def test_a_renewed_session_is_closed_to_whoever_had_its_secret(store: Store, clock: FakeClock) -> None:
    old = open_session(store, make_user(store))
    session_id = found(store, clock, old).session_id
    assert session_id is not None
    with store.transaction() as tx:
        new = sessions.renew(tx, session_id)
    assert find(store, clock, old) is None
    assert found(store, clock, new).session_id == session_id


def test_what_is_over_is_forgotten(store: Store, clock: FakeClock) -> None:
    user_id = make_user(store)
    open_session(store, user_id)
    with store.transaction() as tx:
        sessions.create_link(tx, user_id)
    clock.advance(sessions.LINK_LIFETIME)
    with store.transaction() as tx:
        sessions.sweep(tx, LASTING)
        assert tx.value("SELECT (SELECT COUNT(*) FROM sign_in_links) + (SELECT COUNT(*) FROM sessions)") == 0


def test_secrets_of_links_and_sessions_are_stored_as_hashes_only(store: Store) -> None:
    user_id = make_user(store)
    secret = open_session(store, user_id)
    with store.transaction() as tx:
        token = sessions.create_link(tx, user_id)
    with store.read() as db:
        kept = str(db.all("SELECT * FROM sign_in_links")) + str(db.all("SELECT * FROM sessions"))
    assert token not in kept
    assert secret not in kept
