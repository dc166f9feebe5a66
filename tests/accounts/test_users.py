from __future__ import annotations

import pytest

from secureai_appliance.accounts import passwords, sessions, users
from secureai_appliance.core.errors import Conflict, NotFound, ValidationError
from secureai_appliance.store import Store
from tests.support.clock import FakeClock


def make(store: Store, **fields: str) -> users.User:
    values = {"email": "ada@example.org", "name": "Ada", "role": "user"} | fields
    with store.transaction() as tx:
        return users.create(tx, **values)


def test_an_address_is_one_user_in_any_case_of_letters(store: Store) -> None:
    made = make(store)
    with pytest.raises(Conflict, match="already"):
        make(store, email="ADA@example.org")
    with store.read() as db:
        assert users.by_email(db, "Ada@Example.Org").id == made.id


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "ada"), ("email", "a b@c"), ("name", ""), ("name", " "), ("role", "root"), ("tier", "gold")],
)
def test_a_bad_value_is_named(store: Store, field: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        make(store, **{field: value})
    assert raised.value.details["field"] == field


def test_a_password_is_kept_as_argon2id_and_found_again() -> None:
    encoded = passwords.hash_password("correct horse battery")
    assert encoded.startswith("$argon2id$")
    assert passwords.verify_password("correct horse battery", encoded)
    assert not passwords.verify_password("correct horse batterz", encoded)


@pytest.mark.parametrize("password", ["short", "x" * 257])
def test_a_password_out_of_bounds_is_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        passwords.hash_password(password)


def test_a_sign_in_link_opens_one_session(store: Store, clock: FakeClock) -> None:
    user = make(store)
    with store.transaction() as tx:
        token = sessions.create_link(tx, user.id)
    with store.transaction() as tx:
        secret = sessions.redeem_link(tx, token)
    with pytest.raises(NotFound, match="used already"), store.transaction() as tx:
        sessions.redeem_link(tx, token)
    with store.read() as db:
        caller = sessions.authenticate(db, secret, int(clock.now()))
    assert caller is not None
    assert (caller.user_id, caller.key_id) == (user.id, None)


def test_links_and_sessions_end(store: Store, clock: FakeClock) -> None:
    user = make(store)
    with store.transaction() as tx:
        used, late = sessions.create_link(tx, user.id), sessions.create_link(tx, user.id)
        secret = sessions.redeem_link(tx, used)
    clock.advance(sessions.SESSION_LIFETIME)
    with store.read() as db:
        assert sessions.authenticate(db, secret, int(clock.now())) is None
    clock.advance(sessions.LINK_LIFETIME)
    with pytest.raises(NotFound), store.transaction() as tx:
        sessions.redeem_link(tx, late)
    with store.transaction() as tx:
        sessions.sweep(tx)
        assert tx.value("SELECT (SELECT COUNT(*) FROM sign_in_links) + (SELECT COUNT(*) FROM sessions)") == 0


def test_the_session_of_a_disabled_user_ends(store: Store, clock: FakeClock) -> None:
    user = make(store)
    with store.transaction() as tx:
        secret = sessions.redeem_link(tx, sessions.create_link(tx, user.id))
        tx.run("UPDATE users SET disabled = 1 WHERE id = ?", user.id)
    with store.read() as db:
        assert sessions.authenticate(db, secret, int(clock.now())) is None


def test_secrets_of_links_and_sessions_are_stored_as_hashes_only(store: Store) -> None:
    user = make(store)
    with store.transaction() as tx:
        token = sessions.create_link(tx, user.id)
        secret = sessions.redeem_link(tx, sessions.create_link(tx, user.id))
    with store.read() as db:
        kept = str(db.all("SELECT * FROM sign_in_links")) + str(db.all("SELECT * FROM sessions"))
    assert token not in kept
    assert secret not in kept
