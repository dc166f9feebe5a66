"""What somebody can do to the log who can write the file, and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from secureai_appliance.core.errors import Conflict
from secureai_appliance.governance import audit, chain
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.governance.chain import Break
from secureai_appliance.store import Store, Transaction
from tests.support.audit import CHAIN_KEY, rows
from tests.support.clock import FakeClock

WRITTEN = 8
_COLUMNS = "id, created_at, actor_id, key_id, ip, action, target_type, target_id, outcome, details"


@pytest.fixture
def log(store: Store) -> Store:
    """A log of eight rows."""
    write(store, WRITTEN)
    return store


def write(store: Store, count: int) -> None:
    for n in range(count):
        with store.transaction() as tx:
            audit.record(tx, Actor(f"usr-{n}", "key-1", "10.0.0.1"), "key.created", "key", f"key-{n}", details={"n": n})


def breaks(store: Store) -> list[tuple[str, int, int]]:
    return [(found.kind, found.first, found.last) for found in chain.verify(store, CHAIN_KEY).breaks]


def tamper(store: Store, *statements: str) -> None:
    with store.transaction() as tx:
        for statement in statements:
            assert tx.run(statement)


def test_an_untouched_log_is_whole(log: Store) -> None:
    found = chain.verify(log, CHAIN_KEY)
    assert (found.ok, found.rows, found.dropped, found.count, found.breaks) == (True, WRITTEN, 0, WRITTEN, [])
    with log.read() as db:
        assert found.head == rows(db)[-1].hash


def test_a_log_without_rows_is_whole(store: Store) -> None:
    assert chain.verify(store, CHAIN_KEY).ok


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "'aud-x'"),
        ("created_at", "created_at + 1"),
        ("actor_id", "NULL"),
        ("key_id", "'key-2'"),
        ("ip", "'10.0.0.2'"),
        ("action", "'key.revoked'"),
        ("target_type", "'user'"),
        ("target_id", "'key-x'"),
        ("outcome", "'failure'"),
        ("details", "'{}'"),
    ],
)
@pytest.mark.parametrize("number", [1, 4, WRITTEN])
def test_an_altered_row_is_found_where_it_stands(log: Store, column: str, value: str, number: int) -> None:
    tamper(log, f"UPDATE audit_log SET {column} = {value} WHERE row_id = {number}")
    assert breaks(log) == [("altered", number, number)]


def test_a_row_with_another_hash_is_found_with_its_successor(log: Store) -> None:
    tamper(log, "UPDATE audit_log SET hash = zeroblob(32) WHERE row_id = 4")
    assert breaks(log) == [("altered", 4, 4), ("altered", 5, 5)]


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3), (4, 4), (4, 6), (WRITTEN, WRITTEN), (6, WRITTEN), (1, 8)])
def test_deleted_rows_are_named(log: Store, first: int, last: int) -> None:
    tamper(log, f"DELETE FROM audit_log WHERE row_id BETWEEN {first} AND {last}")
    assert breaks(log) == [("missing", first, last)]


def test_a_deleted_row_is_found_although_the_rest_moved_up(log: Store) -> None:
    tamper(
        log,
        "DELETE FROM audit_log WHERE row_id = 4",
        "UPDATE audit_log SET row_id = -row_id WHERE row_id > 4",
        "UPDATE audit_log SET row_id = -row_id - 1 WHERE row_id < 0",
    )
    assert breaks(log)[0] == ("altered", 4, 4)


@pytest.mark.parametrize("with_hash", [True, False])
def test_rows_that_changed_places_are_found(log: Store, with_hash: bool) -> None:
    if with_hash:
        tamper(
            log,
            "UPDATE audit_log SET row_id = 99 WHERE row_id = 3",
            "UPDATE audit_log SET row_id = 3 WHERE row_id = 5",
            "UPDATE audit_log SET row_id = 5 WHERE row_id = 99",
        )
    else:
        tamper(log, "UPDATE audit_log SET action = CASE row_id WHEN 3 THEN 'a' ELSE 'b' END WHERE row_id IN (3, 5)")
    found = breaks(log)
    assert found[0] == ("altered", 3, 3)
    assert ("altered", 5, 5) in found


def test_a_chain_recomputed_without_the_key_is_found_from_its_first_row(log: Store) -> None:
    with log.transaction() as tx:
        tx.run("UPDATE audit_log SET actor_id = 'usr-forged' WHERE row_id = 3")
        recompute(tx, b"another key", first=3)
    assert breaks(log)[0] == ("altered", 3, 3)


def recompute(tx: Transaction, key: bytes, first: int) -> None:
    """What a forger would do who has read the program."""
    previous = tx.value("SELECT hash FROM audit_log WHERE row_id = ?", first - 1)
    for number, *content in tx.all(f"SELECT row_id, {_COLUMNS} FROM audit_log WHERE row_id >= ?", first):
        previous = chain._hash(key, previous, number, tuple(content))
        tx.run("UPDATE audit_log SET hash = ? WHERE row_id = ?", previous, number)
    head = chain._end(tx).head._replace(hash=previous)
    chain._write_head(tx, head)


def test_a_recomputed_chain_would_pass_under_the_key(log: Store) -> None:
    # so that the test above fails for the right reason
    with log.transaction() as tx:
        recompute(tx, CHAIN_KEY, first=3)
    assert chain.verify(log, CHAIN_KEY).ok


@pytest.mark.parametrize(
    "cover",
    [
        (),
        ("UPDATE audit_head SET count = 5, hash = (SELECT hash FROM audit_log WHERE row_id = 5)",),
        ("UPDATE audit_head SET count = 5, hash = (SELECT hash FROM audit_log WHERE row_id = 5), sealed = NULL",),
        ("DELETE FROM audit_head",),
    ],
    ids=["rows", "rows and head", "rows, head and seal", "rows and no head"],
)
@pytest.mark.parametrize("goes_on", [False, True], ids=["at once", "after more was written"])
def test_cutting_off_the_newest_rows_is_found(log: Store, cover: tuple[str, ...], goes_on: bool) -> None:
    tamper(log, "DELETE FROM audit_log WHERE row_id > 5", *cover)
    if goes_on:
        write(log, 3)
    found = chain.verify(log, CHAIN_KEY)
    assert not found.ok
    assert min(place.last for place in found.breaks) >= 5


@pytest.mark.parametrize("goes_on", [False, True], ids=["at once", "after more was written"])
def test_a_log_put_back_to_its_birth_is_found(log: Store, goes_on: bool) -> None:
    tamper(
        log,
        "DELETE FROM audit_log",
        "UPDATE audit_head SET dropped = 0, count = 0, hash = zeroblob(32), sealed = NULL",
    )
    if goes_on:
        write(log, 1)
    assert not chain.verify(log, CHAIN_KEY).ok


def test_a_row_that_was_added_without_the_key_is_found(log: Store) -> None:
    tamper(
        log,
        f"INSERT INTO audit_log (row_id, {_COLUMNS}, hash) SELECT 9, 'aud-x', {_COLUMNS.partition(', ')[2]}, hash"
        " FROM audit_log WHERE row_id = 8",
    )
    assert breaks(log)[0] == ("altered", 9, 9)
    write(log, 1)
    assert breaks(log)[0] == ("altered", 9, 9)


def test_a_break_is_noted_in_the_log_itself_when_it_goes_on(log: Store) -> None:
    tamper(log, "DELETE FROM audit_log WHERE row_id > 5")
    write(log, 1)
    with log.read() as db:
        added = rows(db, after=5)
    assert [(row.number, row.action) for row in added] == [(9, chain.BROKEN), (10, "key.created")]
    assert breaks(log) == [("missing", 6, 8), ("cut", 9, 9)]


def test_another_master_key_verifies_nothing(log: Store) -> None:
    assert chain.verify(log, b"x" * 32).breaks[0] == Break(
        kind="altered", first=1, last=1, id=chain.verify(log, b"x" * 32).breaks[0].id
    )


def test_retention_keeps_the_rest_verifiable(log: Store, clock: FakeClock) -> None:
    clock.advance(100)
    write(log, 3)
    with log.transaction() as tx:
        assert audit.retain(tx, int(clock.now())) == WRITTEN
        assert audit.retain(tx, int(clock.now())) == 0
    found = chain.verify(log, CHAIN_KEY)
    assert (found.ok, found.dropped, found.rows, found.count) == (True, WRITTEN, 4, WRITTEN + 4)
    with log.read() as db:
        last = rows(db)[-1]
    assert (last.action, last.details["rows"]) == ("audit.retained", WRITTEN)


def test_a_log_that_is_too_old_as_a_whole_leaves_its_checkpoint(log: Store, clock: FakeClock) -> None:
    clock.advance(100)
    with log.transaction() as tx:
        audit.retain(tx, int(clock.now()))
    tamper(log, "DELETE FROM audit_log")
    assert breaks(log) == [("missing", WRITTEN + 1, WRITTEN + 1)]


def test_the_checkpoint_can_not_be_moved_to_hide_a_row(log: Store) -> None:
    tamper(
        log,
        "UPDATE audit_head SET dropped = 3, dropped_hash = (SELECT hash FROM audit_log WHERE row_id = 3)",
        "DELETE FROM audit_log WHERE row_id <= 3",
    )
    assert breaks(log) == [("seal", WRITTEN, WRITTEN)]


def test_what_shows_a_break_is_never_taken_away(log: Store, clock: FakeClock) -> None:
    tamper(log, "UPDATE audit_log SET actor_id = NULL WHERE row_id = 2")
    clock.advance(100)
    with pytest.raises(Conflict), log.transaction() as tx:
        audit.retain(tx, int(clock.now()))
    assert breaks(log) == [("altered", 2, 2)]


@pytest.mark.parametrize("undo", [True, False])
def test_rows_and_head_follow_the_transaction(log: Store, undo: bool) -> None:
    def write_two() -> None:
        with log.transaction() as tx:
            audit.record(tx, SYSTEM, "a.b", "thing")
            audit.record(tx, SYSTEM, "a.c", "thing")
            if undo:
                raise KeyError

    if undo:
        with pytest.raises(KeyError):
            write_two()
    else:
        write_two()
    found = chain.verify(log, CHAIN_KEY)
    assert (found.ok, found.count) == (True, WRITTEN if undo else WRITTEN + 2)


def test_without_the_key_nothing_is_recorded(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.open(tmp_path / "no-key.db", clock=clock)
    with pytest.raises(RuntimeError, match="key of the audit chain"), store.transaction() as tx:
        audit.record(tx, SYSTEM, "a.b", "thing")
    store.close()


def test_a_walk_that_retention_overtakes_begins_again(
    log: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.advance(100)
    pages: Callable[..., object] = chain._pages

    def overtaken(store: Store, after: int, last: int) -> object:
        monkeypatch.setattr(chain, "_pages", pages)
        with store.transaction() as tx:
            audit.retain(tx, int(clock.now()))
        return pages(store, after, last)

    monkeypatch.setattr(chain, "_pages", overtaken)
    assert chain.verify(log, CHAIN_KEY).ok
