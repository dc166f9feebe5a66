from __future__ import annotations

import pytest

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.keys import KeyCreate, KeyPatch
from secureai_appliance.core.errors import AuthenticationError, NotFound, PermissionDenied, ValidationError
from secureai_appliance.store import ListQuery, Store
from tests.support.clock import FakeClock

HOUR = 3600


def make_caller(store: Store, email: str = "ada@example.org", role: str = "user") -> Caller:
    with store.transaction() as tx:
        user = users.create(tx, email=email, name="Ada", role=role)
        return users.caller_of(tx, user.id)


def make(store: Store, caller: Caller, **fields: object) -> keys.KeyCreated:
    with store.transaction() as tx:
        return keys.create(tx, caller, KeyCreate(name="k", **fields))  # type: ignore[arg-type]


def authenticate(store: Store, clock: FakeClock, secret: str) -> Caller:
    with store.read() as db:
        return keys.authenticate(db, secret, int(clock.now()))


def test_a_key_lets_its_owner_in_with_the_rights_of_the_role(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    created = make(store, caller)
    found = authenticate(store, clock, created.key)
    assert (found.user_id, found.key_id, found.permissions) == (caller.user_id, created.id, caller.permissions)


def test_the_secret_is_nowhere_in_the_file(store: Store) -> None:
    created = make(store, make_caller(store))
    with store.read() as db:
        row = db.one("SELECT * FROM api_keys WHERE id = ?", created.id)
    assert created.key not in str(row)
    assert created.key.removeprefix("sk-") not in str(row)


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\x00", "clear\x1b[2J", "over\u202eride"])
def test_a_name_that_a_terminal_should_not_be_sent_is_refused(store: Store, name: str) -> None:
    caller = make_caller(store)
    created = make(store, caller)
    with pytest.raises(ValidationError, match="printable"), store.transaction() as tx:
        keys.create(tx, caller, KeyCreate(name=name))
    with pytest.raises(ValidationError, match="printable"), store.transaction() as tx:
        keys.patch(tx, caller, created.id, KeyPatch(name=name))


def test_an_unknown_key_is_refused(store: Store, clock: FakeClock) -> None:
    with pytest.raises(AuthenticationError, match="not known"):
        authenticate(store, clock, "sk-" + "x" * 43)


def test_a_revoked_key_is_refused_and_gone_from_every_list(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    created = make(store, caller)
    with store.transaction() as tx:
        keys.revoke(tx, caller, created.id)
    with pytest.raises(AuthenticationError, match="revoked"):
        authenticate(store, clock, created.key)
    with store.read() as db:
        assert keys.list_(db, caller, ListQuery()).total == 0
        with pytest.raises(NotFound):
            keys.get(db, caller, created.id)


def test_a_key_ends_at_its_expiry_to_the_second(store: Store, clock: FakeClock) -> None:
    created = make(store, make_caller(store), expires_at="2026-02-02T03:00:00Z")
    clock.set(1_770_001_199)
    assert authenticate(store, clock, created.key)
    clock.set(1_770_001_200)
    with pytest.raises(AuthenticationError, match="expired on 2026-02-02T03:00:00Z"):
        authenticate(store, clock, created.key)


def test_the_key_of_a_disabled_user_is_refused(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    created = make(store, caller)
    with store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1 WHERE id = ?", caller.user_id)
    with pytest.raises(AuthenticationError, match="disabled"):
        authenticate(store, clock, created.key)


def test_scopes_cut_a_key_down(store: Store, clock: FakeClock) -> None:
    created = make(store, make_caller(store), scopes=["models:read"])
    assert authenticate(store, clock, created.key).permissions == {"models:read"}


def test_a_role_that_shrinks_takes_its_keys_along(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store, role="admin")
    created = make(store, caller, scopes=["metrics:read", "models:read"])
    with store.transaction() as tx:
        tx.run("UPDATE users SET role = 'user' WHERE id = ?", caller.user_id)
    assert authenticate(store, clock, created.key).permissions == {"models:read"}


def test_a_narrow_key_cannot_make_a_wider_one(store: Store, clock: FakeClock) -> None:
    narrow = authenticate(store, clock, make(store, make_caller(store), scopes=["keys:write", "models:read"]).key)
    with pytest.raises(PermissionDenied, match="completions:create"):
        make(store, narrow, scopes=["completions:create"])
    assert make(store, narrow).scopes == ["keys:write", "models:read"]


def test_a_key_cannot_outlive_the_key_that_made_it(store: Store, clock: FakeClock) -> None:
    short = authenticate(store, clock, make(store, make_caller(store), expires_at="2026-03-01").key)
    assert make(store, short).expires_at == "2026-03-01T00:00:00Z"
    with pytest.raises(PermissionDenied, match="outlive"):
        make(store, short, expires_at="2026-03-02")


@pytest.mark.parametrize(
    ("fields", "field", "constraint"),
    [
        ({"scopes": ["models:fly"]}, "scopes", "enum"),
        ({"expires_at": "soon"}, "expires_at", "format"),
        ({"expires_at": "2020-01-01"}, "expires_at", "future"),
    ],
)
def test_a_bad_value_is_named(store: Store, fields: dict[str, object], field: str, constraint: str) -> None:
    with pytest.raises(ValidationError) as raised:
        make(store, make_caller(store), **fields)
    assert raised.value.details == {"field": field, "constraint": constraint}


def test_another_users_key_is_the_same_404_as_a_missing_one(store: Store) -> None:
    created = make(store, make_caller(store))
    other = make_caller(store, "bob@example.org")
    messages = set()
    for key_id in (created.id, "key-none"):
        with store.read() as db, pytest.raises(NotFound) as raised:
            keys.get(db, other, key_id)
        messages.add(raised.value.message)
        with pytest.raises(NotFound), store.transaction() as tx:
            keys.revoke(tx, other, key_id)
    assert len(messages) == 1


def test_a_patch_changes_what_it_names_and_leaves_the_rest(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    created = make(store, caller, expires_at="2026-03-01")
    clock.advance(5)
    with store.transaction() as tx:
        changed = keys.patch(tx, caller, created.id, KeyPatch(name="renamed"))
    assert (changed.name, changed.expires_at) == ("renamed", "2026-03-01T00:00:00Z")
    assert changed.updated_at > created.updated_at
    with store.transaction() as tx:
        assert keys.patch(tx, caller, created.id, KeyPatch(expires_at=None)).expires_at is None


def test_the_last_use_is_exact_to_the_hour_and_written_once_in_it(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    created = make(store, caller)
    hours = []
    for seconds in (0, 60, 2 * HOUR):
        clock.advance(seconds)
        keys.touch(store, created.id, int(clock.now()))
        with store.read() as db:
            hours.append(keys.get(db, caller, created.id).last_used_at)
    assert hours == ["2026-02-02T02:00:00Z", "2026-02-02T02:00:00Z", "2026-02-02T04:00:00Z"]
