from __future__ import annotations

import pytest

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import Share, Shareable
from secureai_appliance.core.errors import Conflict, ValidationError
from secureai_appliance.governance.ownership import Ownership
from secureai_appliance.store import ListQuery, ListSpec, Store, Transaction, UniqueViolation, list_page
from tests.support.rows import add_user

NOTES = Shareable("notes", "note")
LIST: ListSpec[str] = ListSpec(
    columns="notes.id",
    source="notes",
    sortable={"created_at": "notes.created_at"},
    search=("notes.name",),
    read=lambda row: str(row[0]),
    row_id="notes.row_id",
    created_at="notes.created_at",
)


def caller(name: str, *permissions: str) -> Caller:
    return Caller(f"usr-{name}", f"{name}@example.test", "user", "free", frozenset(permissions))


ANN, BOB, CYD, DAN = (caller(name) for name in ("ann", "bob", "cyd", "dan"))


@pytest.fixture
def notes(store: Store) -> Store:
    """Ann, Bob, Cyd and Dan, of whom Bob and Cyd are in one group, and a table of notes."""
    with store.transaction() as tx:
        for name in ("ann", "bob", "cyd", "dan"):
            add_user(tx, name)
        for group in ("bc", "none"):
            tx.run(
                "INSERT INTO groups (id, name, description, created_at, updated_at) VALUES (?, ?, '', 0, 0)",
                group,
                group,
            )
        for member in (BOB, CYD):
            tx.run("INSERT INTO group_members (group_id, user_id) VALUES ('bc', ?)", member.user_id)
        tx.run(
            "CREATE TABLE notes (row_id INTEGER PRIMARY KEY, id TEXT, owner_id TEXT REFERENCES users (id), name TEXT,"
            " visibility TEXT, created_at INTEGER, UNIQUE (owner_id, name))"
        )
    return store


def add(tx: Transaction, owner: Caller, name: str, visibility: str = "private", *shares: Share) -> str:
    note_id = f"note-{owner.user_id}-{name}"
    tx.run(
        "INSERT INTO notes (id, owner_id, name, visibility, created_at) VALUES (?, ?, ?, ?, 0)",
        *(note_id, owner.user_id, name, visibility),
    )
    sharing.share(tx, owner, note_id, shares)
    return note_id


def seen(store: Store, by: Caller, access: sharing.Access = "read") -> set[str]:
    """What a list shows; its total must say the same."""
    where, params = sharing.visible_to(by, NOTES, access)
    with store.read() as db:
        page = list_page(db, LIST, ListQuery(), where=where, params=params)
    assert page.total == len(page.data)
    return {note_id.rpartition("-")[2] for note_id in page.data}


def test_a_caller_sees_their_own_what_is_shared_with_them_and_what_is_everyones(notes: Store) -> None:
    with notes.transaction() as tx:
        add(tx, ANN, "mine")
        add(tx, ANN, "bobs", "shared", Share(user_id=BOB.user_id))
        add(tx, ANN, "group", "shared", Share(user_id=DAN.user_id))
        sharing.share(tx, caller("ann", "users:admin"), "note-usr-ann-group", [Share(group_id="bc", access="write")])
        add(tx, ANN, "all", "everyone")
    assert seen(notes, ANN) == {"mine", "bobs", "group", "all"}
    assert seen(notes, BOB) == {"bobs", "group", "all"}
    assert seen(notes, CYD) == {"group", "all"}
    assert seen(notes, DAN) == {"all"}
    assert [seen(notes, who, "write") for who in (ANN, BOB, CYD, DAN)] == [
        {"mine", "bobs", "group", "all"},
        {"group"},
        {"group"},
        set(),
    ]


def test_shares_count_only_while_the_visibility_says_shared(notes: Store) -> None:
    with notes.transaction() as tx:
        add(tx, ANN, "was", "private", Share(user_id=BOB.user_id, access="write"))
    assert seen(notes, BOB) == seen(notes, BOB, "write") == set()


def test_who_leaves_a_group_sees_its_shares_no_longer(notes: Store) -> None:
    with notes.transaction() as tx:
        add(tx, BOB, "group", "shared", Share(group_id="bc"))
    assert seen(notes, CYD) == {"group"}
    with notes.transaction() as tx:
        tx.run("DELETE FROM group_members WHERE user_id = ?", CYD.user_id)
    assert seen(notes, CYD) == set()


def test_a_share_given_twice_is_the_wider_one_and_a_new_list_replaces_the_old(notes: Store) -> None:
    with notes.transaction() as tx:
        both = (Share(user_id=BOB.user_id, access="write"), Share(user_id=BOB.user_id))
        note = add(tx, ANN, "n", "shared", *both)
        assert sharing.shares_of(tx, note) == [both[0]]
        sharing.share(tx, ANN, note, [Share(user_id=CYD.user_id)])
        assert sharing.shares_of(tx, note) == [Share(user_id=CYD.user_id)]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (Share(user_id="usr-none"), "shares.0.user_id"),
        (Share(group_id="missing"), "shares.0.group_id"),
        (Share(group_id="none"), "shares.0.group_id"),
        (Share(), "shares.0"),
        (Share(user_id="usr-bob", group_id="bc"), "shares.0"),
    ],
)
def test_a_share_that_cannot_be_is_named_and_changes_nothing(notes: Store, given: Share, field: str) -> None:
    with notes.transaction() as tx:
        note = add(tx, BOB, "n", "shared", Share(group_id="bc"))
    with pytest.raises(ValidationError) as raised, notes.transaction() as tx:
        sharing.share(tx, BOB, note, [given])
    assert raised.value.details["field"] == field
    assert seen(notes, CYD) == {"n"}


def test_a_group_of_others_cannot_be_told_from_a_missing_one(notes: Store) -> None:
    messages = set()
    for group in ("bc", "missing"):
        with pytest.raises(ValidationError) as raised, notes.transaction() as tx:
            sharing.share(tx, ANN, "note-x", [Share(group_id=group)])
        messages.add(raised.value.message)
    assert len(messages) == 1


def test_a_name_means_the_callers_own_then_what_is_shared_with_them_then_everyones(notes: Store) -> None:
    with notes.transaction() as tx:
        everyones = add(tx, ANN, "n", "everyone")
        assert sharing.named(tx, CYD, NOTES, "name", "n") == everyones
        shared = add(tx, BOB, "n", "shared", Share(group_id="bc"))
        assert sharing.named(tx, CYD, NOTES, "name", "n") == shared
        own = add(tx, CYD, "n")
        assert sharing.named(tx, CYD, NOTES, "name", "n") == own
        assert sharing.named(tx, DAN, NOTES, "name", "n") == everyones
        assert sharing.named(tx, DAN, NOTES, "name", "other") is None


def test_a_name_is_taken_only_by_what_the_caller_can_see(notes: Store) -> None:
    with notes.transaction() as tx:
        mine = add(tx, ANN, "mine")
        add(tx, BOB, "hidden")
        add(tx, BOB, "all", "everyone")
        sharing.refuse_taken(tx, NOTES, ANN.user_id, "name", "hidden", visibility="everyone")
        sharing.refuse_taken(tx, NOTES, ANN.user_id, "name", "all", visibility="private")
        sharing.refuse_taken(tx, NOTES, ANN.user_id, "name", "mine", visibility="private", except_id=mine)
        for name, visibility in (("mine", "private"), ("all", "everyone")):
            with pytest.raises(Conflict, match=f"'{name}'"):
                sharing.refuse_taken(tx, NOTES, ANN.user_id, "name", name, visibility=visibility)  # type: ignore[arg-type]


def test_what_is_handed_over_keeps_its_shares_and_gets_another_name_where_the_new_owner_has_it(notes: Store) -> None:
    with notes.transaction() as tx:
        add(tx, ANN, "n", "shared", Share(user_id=BOB.user_id), Share(user_id=CYD.user_id))
        add(tx, ANN, "free")
        add(tx, BOB, "n")
        with pytest.raises(UniqueViolation):
            tx.run("UPDATE notes SET owner_id = ? WHERE owner_id = ?", BOB.user_id, ANN.user_id)
        Ownership([NOTES.owned()]).give_up(tx, ANN.user_id, BOB.user_id)
        names = [row[0] for row in tx.all("SELECT name FROM notes WHERE owner_id = ? ORDER BY row_id", BOB.user_id)]
        assert names == ["n-sr-ann-n", "free", "n"]
        assert sharing.shares_of(tx, "note-usr-ann-n") == [Share(user_id=CYD.user_id)]


def test_what_goes_with_its_owner_leaves_no_share_behind(notes: Store) -> None:
    with notes.transaction() as tx:
        add(tx, ANN, "n", "shared", Share(user_id=BOB.user_id))
        Ownership([NOTES.owned()]).give_up(tx, ANN.user_id, None)
        assert tx.value("SELECT (SELECT COUNT(*) FROM notes) + (SELECT COUNT(*) FROM shares)") == 0
