"""Who may what: roles, groups, single permissions, and who may give them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from secureai_appliance.accounts import groups, keys, sessions, users
from secureai_appliance.accounts.callers import Caller, operator
from secureai_appliance.accounts.groups import GroupCreate, GroupPatch
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.permissions import (
    ORDINARY,
    PERMISSIONS,
    ROLE_PERMISSIONS,
    Permissions,
    PermissionsPatch,
)
from secureai_appliance.accounts.sessions import Browser, Lifetimes
from secureai_appliance.accounts.user_fields import User, UserCreate, UserPatch, UserQuery
from secureai_appliance.appliance import OWNERSHIP
from secureai_appliance.core.errors import AuthenticationError, Conflict, NotFound, PermissionDenied, ValidationError
from secureai_appliance.governance.tiers import Overrides
from secureai_appliance.store import Store
from tests.support import audit
from tests.support.clock import FakeClock

ROOT = operator("test")


def make(store: Store, name: str = "ada", caller: Caller = ROOT, **fields: Any) -> User:
    with store.transaction() as tx:
        body = UserCreate(email=f"{name}@example.org", name=name, **fields)
        return users.add(tx, caller, body)


def make_group(store: Store, name: str = "workshop", caller: Caller = ROOT, **permissions: list[str]) -> groups.Group:
    with store.transaction() as tx:
        return groups.create(tx, caller, GroupCreate(name=name, permissions=Permissions(**permissions)))


def change(store: Store, user: User, caller: Caller = ROOT, **fields: Any) -> User:
    with store.transaction() as tx:
        return users.patch(tx, caller, OWNERSHIP, user.id, UserPatch(**fields))


def through_key(store: Store, user: User, **fields: Any) -> Caller:
    """The user as a request with a new key of theirs finds them."""
    with store.transaction() as tx:
        secret = keys.create(tx, users.caller_of(tx, user.id), KeyCreate(name="k", **fields)).key
    return again(store, secret)


def again(store: Store, secret: str) -> Caller:
    with store.read() as db:
        return keys.authenticate(db, secret, 1_770_000_000)


def rights(store: Store, user: User) -> frozenset[str]:
    with store.read() as db:
        return users.rights(db, user.id)


def test_the_roles_are_what_is_documented() -> None:
    assert ROLE_PERMISSIONS["admin"] == set(PERMISSIONS)
    assert ROLE_PERMISSIONS["auditor"] - ORDINARY == {"users:read", "usage:read", "audit:read"}
    assert not {name for name in ORDINARY if name.endswith(":admin")} | ORDINARY & {"tools:write", "models:write"}


def test_a_denial_wins_over_role_grant_and_group(store: Store) -> None:
    granting = make_group(store, "granting", granted=["tools:write", "usage:read"])
    denying = make_group(store, "denying", denied=["usage:read", "chats:write"])
    user = make(
        store,
        groups=[granting.id, denying.id],
        permissions=Permissions(granted=["chats:write", "audit:read"], denied=["keys:write"]),
    )
    assert rights(store, user) == (ORDINARY | {"tools:write", "audit:read"}) - {"chats:write", "keys:write"}


def test_an_administrator_holds_everything_whatever_a_group_denies(store: Store) -> None:
    group = make_group(store, denied=["users:admin"])
    admin = make(store, role="admin", groups=[group.id], permissions=Permissions(denied=["chats:read"]))
    assert rights(store, admin) == set(PERMISSIONS)


def test_changes_count_from_the_next_request_on_for_keys_and_sessions(store: Store, clock: FakeClock) -> None:
    make(store, "root", role="admin")
    user, group = make(store), make_group(store, granted=["tools:write"])
    with store.transaction() as tx:
        key = keys.create(tx, users.caller_of(tx, user.id), KeyCreate(name="k")).key
        session = sessions.open_(tx, user.id, "link", Browser("127.0.0.1", "test"))

    def seen() -> tuple[frozenset[str], frozenset[str]]:
        with store.read() as db:
            signed_in = sessions.authenticate(db, session, int(clock.now()), Lifetimes())
        assert signed_in is not None
        return again(store, key).permissions - ORDINARY, signed_in.permissions - ORDINARY

    assert seen() == (frozenset(), frozenset())
    change(store, user, groups=[group.id])
    assert seen() == ({"tools:write"}, {"tools:write"})
    with store.transaction() as tx:
        groups.patch(tx, ROOT, group.id, GroupPatch(permissions=PermissionsPatch(granted=["usage:read"])))
    assert seen() == ({"usage:read"}, {"usage:read"})
    change(store, user, groups=[], role="auditor")
    assert seen() == (ROLE_PERMISSIONS["auditor"] - ORDINARY,) * 2


def test_disabling_ends_sessions_and_links_for_good_and_keys_while_it_lasts(store: Store, clock: FakeClock) -> None:
    make(store, "root", role="admin")
    user = make(store)
    with store.transaction() as tx:
        key = keys.create(tx, users.caller_of(tx, user.id), KeyCreate(name="k")).key
        session = sessions.open_(tx, user.id, "link", Browser("127.0.0.1", "test"))
        link = sessions.create_link(tx, user.id)
    change(store, user, disabled=True)
    with pytest.raises(AuthenticationError, match="disabled"):
        again(store, key)
    change(store, user, disabled=False)
    assert again(store, key).user_id == user.id
    with store.read() as db:
        assert sessions.authenticate(db, session, int(clock.now()), Lifetimes()) is None
        with pytest.raises(NotFound):
            sessions.require_link(db, link, int(clock.now()))


@pytest.mark.parametrize("fields", [{"role": "user"}, {"disabled": True}], ids=str)
def test_the_last_administrator_stays_one(store: Store, fields: dict[str, Any]) -> None:
    admin = make(store, "root", role="admin")
    make(store, "gone", role="admin")
    with store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1 WHERE name = 'gone'")
    with pytest.raises(Conflict, match="last administrator"):
        change(store, admin, **fields)
    with pytest.raises(Conflict, match="last administrator"), store.transaction() as tx:
        users.delete(tx, ROOT, OWNERSHIP, admin.id, None)
    with store.read() as db:
        assert users.get(db, admin.id) == admin
    other = make(store, "other", role="admin")
    change(store, admin, **fields)
    with store.read() as db:
        assert users.get(db, other.id).role == "admin"


# who administers users does not thereby become an administrator


def helper(store: Store) -> tuple[User, Caller]:
    user = make(store, "helper", permissions=Permissions(granted=["users:admin", "users:read"]))
    return user, through_key(store, user)


def test_who_administers_users_gives_no_right_that_is_not_their_own(store: Store) -> None:
    user, caller = helper(store)
    plain, powerful = make(store), make_group(store, granted=["tools:write"])
    assert make(store, "new", caller, tier="free").role == "user"
    for attempt in (
        lambda: make(store, "root", caller, role="admin"),
        lambda: make(store, "root", caller, groups=[powerful.id]),
        lambda: change(store, plain, caller, role="auditor"),
        lambda: change(store, user, caller, role="admin"),
        lambda: change(store, user, caller, permissions=PermissionsPatch(granted=["audit:read"])),
        lambda: change(store, plain, caller, groups=[powerful.id]),
        lambda: make_group(store, "mine", caller, granted=["configs:admin"]),
    ):
        with pytest.raises(PermissionDenied):
            attempt()
    with pytest.raises(PermissionDenied), store.transaction() as tx:
        groups.add_members(tx, caller, powerful.id, [plain.id])
    assert rights(store, plain) == ORDINARY


def test_who_administers_users_takes_nothing_from_those_who_hold_more(store: Store) -> None:
    _, caller = helper(store)
    admin, auditor = make(store, "root", role="admin"), make(store, "auditor", role="auditor")
    make(store, "root2", role="admin")
    restricting = make_group(store, denied=["tools:write"])
    for victim in (admin, auditor):
        with pytest.raises(PermissionDenied):
            change(store, victim, caller, disabled=True)
        with pytest.raises(PermissionDenied), store.transaction() as tx:
            users.delete(tx, caller, OWNERSHIP, victim.id, None)
    with pytest.raises(PermissionDenied), store.transaction() as tx:
        groups.delete(tx, caller, restricting.id)


def test_a_narrow_key_of_an_administrator_makes_ordinary_users_only(store: Store) -> None:
    narrow = through_key(store, make(store, "root", role="admin"), scopes=["users:admin"])
    assert make(store, "new", narrow).role == "user"
    with pytest.raises(PermissionDenied):
        make(store, "other", narrow, role="admin")


# deletion


def test_a_deleted_user_leaves_nothing_behind(store: Store) -> None:
    make(store, "root", role="admin")
    group = make_group(store)
    user = make(store, groups=[group.id])
    with store.transaction() as tx:
        secret = keys.create(tx, users.caller_of(tx, user.id), KeyCreate(name="k")).key
        sessions.open_(tx, user.id, "link", Browser("127.0.0.1", "test"))
        sessions.create_link(tx, user.id)
        users.delete(tx, ROOT, OWNERSHIP, user.id, None)
    with pytest.raises(AuthenticationError, match="not known"):
        again(store, secret)
    with store.read() as db:
        for owned in OWNERSHIP.owned:
            assert not db.value(f"SELECT COUNT(*) FROM {owned.table} WHERE {owned.column} = ?", user.id), owned.table
        assert groups.get(db, group.id).member_count == 0


@pytest.mark.parametrize("to", ["self", "missing", "disabled"])
def test_what_a_user_leaves_goes_only_to_somebody_who_can_have_it(store: Store, to: str) -> None:
    make(store, "root", role="admin")
    user, disabled = make(store), make(store, "disabled")
    change(store, disabled, disabled=True)
    heir = {"self": user.id, "missing": "usr-none", "disabled": disabled.id}[to]
    with pytest.raises(ValidationError) as raised, store.transaction() as tx:
        users.delete(tx, ROOT, OWNERSHIP, user.id, heir)
    assert raised.value.details["field"] == "transfer_to"


def test_every_table_that_belongs_to_users_is_declared(store: Store) -> None:
    declared = {(owned.table, owned.column) for owned in OWNERSHIP.owned}
    found = set()
    with store.read() as db:
        for (table,) in db.all("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"):
            for reference in db.all('SELECT "table", "from" FROM pragma_foreign_key_list(?)', table):
                if reference[0] == "users":
                    found.add((table, reference[1]))
            for (column,) in db.all("SELECT name FROM pragma_table_info(?)", table):
                if column in {"user_id", "owner_id"}:
                    found.add((table, column))
    assert found == declared


# values


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"groups": ["grp-none"]}, "groups.0"),
        ({"permissions": Permissions(granted=["chats:fly"])}, "permissions.granted"),
        ({"permissions": Permissions(denied=["root"])}, "permissions.denied"),
    ],
)
def test_a_bad_value_is_named_and_nobody_is_made(store: Store, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        make(store, **fields)
    assert raised.value.details["field"] == field
    with store.read() as db:
        assert users.list_(db, UserQuery()).total == 0


def test_a_patch_changes_what_it_names_and_leaves_the_rest(store: Store) -> None:
    make(store, "root", role="admin")
    group = make_group(store)
    user = make(
        store,
        groups=[group.id],
        limits=Overrides(requests_per_day=None, tokens_per_day=5),
        permissions=Permissions(granted=["tools:write"], denied=["chats:read"]),
    )
    changed = change(store, user, name="Ada L.", permissions=PermissionsPatch(denied=[]))
    assert changed.permissions == Permissions(granted=["tools:write"])
    assert (changed.name, changed.email, changed.groups, changed.limits) == (
        "Ada L.",
        user.email,
        [group.id],
        Overrides(requests_per_day=None, tokens_per_day=5),
    )
    assert change(store, user, limits=None, groups=[]).limits is None
    with pytest.raises(Conflict, match="already"):
        change(store, user, email="ROOT@example.org")


def test_users_are_filtered_by_role_tier_group_state_and_text(store: Store) -> None:
    group = make_group(store)
    make(store, "root", role="admin", tier="enterprise")
    make(store, "member", groups=[group.id])
    change(store, make(store, "gone"), disabled=True)

    def found(**query: Any) -> list[str]:
        with store.read() as db:
            return [user.name for user in users.list_(db, UserQuery(sort="created_at", **query)).data]

    assert found(role="admin") == found(tier="enterprise") == found(q="ROOT@") == ["root"]
    assert found(group=group.id) == ["member"]
    assert found(disabled=True) == ["gone"]
    assert found(disabled=False, role="user") == ["member"]
    assert found(group="grp-none") == []


def test_changes_of_users_and_groups_are_in_the_audit_log(store: Store) -> None:
    make(store, "root", role="admin")
    user, group = make(store), make_group(store)
    begin = audit.newest(store)
    change(store, user, role="auditor", name="Eve", disabled=True)
    with store.transaction() as tx:
        groups.add_members(tx, ROOT, group.id, [user.id])
        groups.remove_member(tx, ROOT, group.id, user.id)
        groups.delete(tx, ROOT, group.id)
        users.delete(tx, ROOT, OWNERSHIP, user.id, None)
    with store.read() as db:
        rows = audit.rows(db, begin)
    assert [row.action for row in rows] == [
        *("user.role_changed", "user.disabled", "user.updated", "group.member_added", "group.member_removed"),
        *("group.deleted", "user.deleted"),
    ]
    assert (rows[0].details["old_role"], rows[0].details["new_role"]) == ("user", "auditor")
    assert "Eve" not in str([row.details for row in rows])


def test_groups_neither_give_nor_take_what_their_administrator_lacks(store: Store) -> None:
    helper = make(store, "helper", permissions=Permissions(granted=["users:admin"]))
    caller = through_key(store, helper)
    auditor = make(store, "auditor", role="auditor")
    denying, granting = make_group(store, "denying", denied=["audit:read"]), make_group(store, granted=["audit:read"])
    tries = [
        lambda tx: groups.add_members(tx, caller, denying.id, [auditor.id]),
        lambda tx: groups.remove_member(tx, caller, granting.id, auditor.id),
        lambda tx: groups.delete(tx, caller, granting.id),
        lambda tx: groups.patch(tx, caller, granting.id, GroupPatch(permissions=PermissionsPatch(granted=[]))),
        lambda tx: groups.create(tx, caller, GroupCreate(name="g", permissions=Permissions(denied=["audit:read"]))),
    ]
    for attempt in tries:
        with pytest.raises(PermissionDenied), store.transaction() as tx:
            attempt(tx)
    ordinary = make_group(store, "ordinary", caller, denied=["chats:write"])
    with store.transaction() as tx:
        assert groups.add_members(tx, caller, ordinary.id, [auditor.id]).member_count == 1


def test_another_role_is_an_event_and_the_same_role_is_none(store: Store) -> None:
    with store.transaction() as tx:
        tx.run(
            "INSERT INTO webhooks (id, url, events, description, enabled, secret, created_at, updated_at)"
            " VALUES ('hook-1', 'http://127.0.0.1:9', '[\"user.role_changed\"]', '', 1, x'00', 1, 1)"
        )
    root, ada = make(store, "root", role="admin"), make(store)
    caller = through_key(store, root)
    for _ in range(2):
        change(store, ada, caller, role="auditor")
    with store.read() as db:
        bodies = [msgspec.json.decode(body) for (body,) in db.all("SELECT body FROM events")]
    assert [body["data"] for body in bodies] == [
        {"user_id": ada.id, "old_role": "user", "new_role": "auditor", "changed_by": root.id}
    ]
