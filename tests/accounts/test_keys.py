from __future__ import annotations

import pytest

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.keys import KeyCreate, KeyPatch, KeyQuery
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


def authenticate(store: Store, clock: FakeClock, secret: str, address: str | None = None) -> Caller:
    with store.read() as db:
        return keys.authenticate(db, secret, int(clock.now()), address)


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


# addresses and models


@pytest.mark.parametrize(
    ("address", "enters"),
    [
        ("192.168.1.7", True),
        ("::ffff:192.168.1.7", True),
        ("10.0.0.1", True),
        ("2001:db8::5", True),
        ("192.168.2.7", False),
        ("10.0.0.2", False),
        ("2001:db9::5", False),
        ("::1", False),
        ("unix", False),
        (None, False),
    ],
)
def test_a_key_works_only_from_its_addresses(store: Store, clock: FakeClock, address: str | None, enters: bool) -> None:
    created = make(store, make_caller(store), allowed_ips=["192.168.1.0/24", "10.0.0.1", "2001:db8::/32"])
    assert created.allowed_ips == ["192.168.1.0/24", "10.0.0.1/32", "2001:db8::/32"]
    if enters:
        assert authenticate(store, clock, created.key, address).key_id == created.id
    else:
        with pytest.raises(PermissionDenied) as raised:
            authenticate(store, clock, created.key, address)
        assert raised.value.code == "address_not_allowed"


def test_a_key_is_only_for_its_models_under_either_name(store: Store, clock: FakeClock) -> None:
    caller = authenticate(store, clock, make(store, make_caller(store), allowed_models=["gpt-4", "own-model"]).key)
    caller.require_model("smollm2", "gpt-4")
    caller.require_model("own-model", "alias")
    with pytest.raises(PermissionDenied, match="'default'"):
        caller.require_model("smollm2", "default")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"allowed_ips": ["10.0.0.0/8", "here"]}, "allowed_ips.1"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips.0"),
        ({"allowed_models": ["a\nb"]}, "allowed_models.0"),
    ],
)
def test_a_bad_bound_is_named(store: Store, fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        make(store, make_caller(store), **fields)
    assert raised.value.details["field"] == field


# rotation


def test_a_rotated_key_has_a_new_secret_and_the_old_one_works_through_its_grace(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    old = make(store, caller, scopes=["models:read"])
    with store.transaction() as tx:
        new = keys.rotate(tx, caller, old.id, 60)
    assert (new.id, new.scopes, new.previous_until) == (old.id, old.scopes, "2026-02-02T02:41:00Z")
    assert new.key not in {old.key, ""}
    clock.advance(59)
    assert authenticate(store, clock, old.key).key_id == authenticate(store, clock, new.key).key_id == old.id
    clock.advance(1)
    with pytest.raises(AuthenticationError, match="replaced"):
        authenticate(store, clock, old.key)
    assert authenticate(store, clock, new.key).permissions == {"models:read"}


def test_a_rotation_without_grace_ends_the_old_secret_at_once_and_a_second_one_the_first(
    store: Store, clock: FakeClock
) -> None:
    caller = make_caller(store)
    secrets = [make(store, caller)]
    for grace in (3600, 0):
        with store.transaction() as tx:
            secrets.append(keys.rotate(tx, caller, secrets[0].id, grace))
    with pytest.raises(AuthenticationError, match="not known"):
        authenticate(store, clock, secrets[0].key)
    with pytest.raises(AuthenticationError, match="replaced"):
        authenticate(store, clock, secrets[1].key)
    assert authenticate(store, clock, secrets[2].key)


def test_both_secrets_of_a_revoked_key_are_refused(store: Store, clock: FakeClock) -> None:
    caller = make_caller(store)
    old = make(store, caller)
    with store.transaction() as tx:
        new = keys.rotate(tx, caller, old.id, 3600)
        keys.revoke(tx, caller, old.id)
    for secret in (old.key, new.key):
        with pytest.raises(AuthenticationError, match="revoked"):
            authenticate(store, clock, secret)


def test_both_secrets_are_found_by_an_index(store: Store) -> None:
    with store.read() as db:
        plan = str(
            db.all("EXPLAIN QUERY PLAN SELECT id FROM api_keys WHERE secret_hash = ?1 OR previous_hash = ?1", b"")
        )
    assert "SCAN" not in plan


# a key and wider keys of the same owner

BOUNDS: dict[str, dict[str, object]] = {
    "scopes": {"scopes": ["keys:read", "keys:write", "models:read"]},
    "end": {"expires_at": "2026-03-01"},
    "models": {"allowed_models": ["gpt-4"]},
    "addresses": {"allowed_ips": ["127.0.0.0/8"]},
}


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("does", ["rename", "extend", "rotate", "revoke"])
def test_a_narrow_key_changes_no_wider_key_of_its_owner(store: Store, clock: FakeClock, bound: str, does: str) -> None:
    caller = make_caller(store)
    wide = make(store, caller)
    narrow = authenticate(store, clock, make(store, caller, **BOUNDS[bound]).key, "127.0.0.1")

    def attempt(key_id: str) -> None:
        with store.transaction() as tx:
            if does == "rotate":
                keys.rotate(tx, narrow, key_id, 0)
            elif does == "revoke":
                keys.revoke(tx, narrow, key_id)
            else:
                change = KeyPatch(name="x") if does == "rename" else KeyPatch(expires_at="2026-02-20")
                keys.patch(tx, narrow, key_id, change)

    with pytest.raises(PermissionDenied):
        attempt(wide.id)
    assert authenticate(store, clock, wide.key)
    attempt(make(store, narrow).id)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_narrow_key_makes_and_leaves_keys_as_narrow_as_itself(store: Store, clock: FakeClock, bound: str) -> None:
    caller = make_caller(store)
    narrow = authenticate(store, clock, make(store, caller, **BOUNDS[bound]).key, "127.0.0.1")
    field = next(iter(BOUNDS[bound]))
    made = make(store, narrow)
    assert getattr(made, field) is not None
    with store.transaction() as tx:
        freed = keys.patch(tx, narrow, made.id, KeyPatch(**{field: None}))  # type: ignore[arg-type]
    assert getattr(freed, field) == getattr(made, field)
    wider = {
        "scopes": ["chats:read"],
        "expires_at": "2027-01-01",
        "allowed_models": ["gpt-4", "other"],
        "allowed_ips": ["127.0.0.1", "10.0.0.1"],
    }
    with pytest.raises(PermissionDenied):
        make(store, narrow, **{field: wider[field]})


# other people's keys


def test_an_administrator_sees_and_revokes_everybodys_keys_but_changes_none(store: Store, clock: FakeClock) -> None:
    admin, user = make_caller(store, "root@example.org", "admin"), make_caller(store)
    created = make(store, user)
    with store.read() as db:
        assert keys.get(db, admin, created.id).user_id == user.user_id
        assert keys.list_(db, admin, KeyQuery(user_id=user.user_id)).total == 1
        assert keys.list_(db, admin, KeyQuery(user_id="all")).total == 1
        assert keys.list_(db, admin, KeyQuery()).total == 0
        for query in (KeyQuery(user_id="all"), KeyQuery(user_id=admin.user_id)):
            with pytest.raises(PermissionDenied):
                keys.list_(db, user, query)
    for attempt in (
        lambda tx: keys.rotate(tx, admin, created.id, 0),
        lambda tx: keys.patch(tx, admin, created.id, KeyPatch(scopes=None)),
    ):
        with pytest.raises(PermissionDenied, match="owner"), store.transaction() as tx:
            attempt(tx)
    with store.transaction() as tx:
        keys.revoke(tx, admin, created.id)
    with pytest.raises(AuthenticationError, match="revoked"):
        authenticate(store, clock, created.key)


def test_who_administers_users_revokes_no_key_of_an_administrator(store: Store, clock: FakeClock) -> None:
    admin = make_caller(store, "root@example.org", "admin")
    created = make(store, admin)
    narrow = authenticate(
        store,
        clock,
        make(store, make_caller(store, "b@example.org", "admin"), scopes=["users:admin", "keys:write"]).key,
    )
    with pytest.raises(PermissionDenied), store.transaction() as tx:
        keys.revoke(tx, narrow, created.id)
    assert authenticate(store, clock, created.key)
