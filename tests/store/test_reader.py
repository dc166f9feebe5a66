"""Reading: one consistent state, and nothing left behind."""

from __future__ import annotations

import threading

import apsw
import pytest

from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.rows import names, names_in, write_user


def test_all_one_value_and_rows_give_the_same_rows(store: Store) -> None:
    for name in ("ada", "grace", "mary"):
        write_user(store, name)
    sql = "SELECT name, role FROM users WHERE name > ? ORDER BY name"
    with store.read() as db:
        assert db.all(sql, "b") == [("grace", "user"), ("mary", "user")]
        assert db.one(sql, "b") == ("grace", "user")
        assert db.value(sql, "b") == "grace"
        assert list(db.rows(sql, "b")) == db.all(sql, "b")
        assert db.all(sql, "z") == []
        assert db.one(sql, "z") is None
        assert db.value(sql, "z") is None


def test_a_reader_keeps_its_state_while_others_write(store: Store) -> None:
    write_user(store, "ada")
    with store.read() as db:
        assert names(db) == {"ada"}
        write_user(store, "grace")
        assert names(db) == {"ada"}
    assert names_in(store) == {"ada", "grace"}


def test_a_walk_that_was_broken_off_holds_no_state_back(store: Store) -> None:
    for name in ("ada", "grace"):
        write_user(store, name)
    with store.read() as db:
        for _ in db.rows("SELECT * FROM users"):
            break
    write_user(store, "mary")
    # only one connection was opened, so this is the one that broke its walk off
    assert names_in(store) == {"ada", "grace", "mary"}
    assert len(store._readers._idle) == 1
    store.checkpoint()
    assert store.path.with_name("secureai.db-wal").stat().st_size == 0


def test_an_error_inside_a_read_leaves_the_pool_in_order(store: Store) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), store.read() as db:
            db.value("SELECT 1")
            raise ZeroDivisionError
    with pytest.raises(apsw.SQLError), store.read() as db:
        db.all("SELECT nonsense FROM nowhere")
    write_user(store, "ada")
    assert names_in(store) == {"ada"}


def test_a_reader_can_not_write(store: Store) -> None:
    write_user(store, "ada")
    with pytest.raises(apsw.ReadOnlyError), store.read() as db:
        db.all("DELETE FROM users")
    assert names_in(store) == {"ada"}


def test_readers_read_at_the_same_time(store: Store) -> None:
    write_user(store, "ada")
    with store.read() as one, store.read() as other:
        assert names(one) == names(other) == {"ada"}
    assert len(store._readers._idle) == 2


def test_a_read_that_is_held_for_long_is_reported(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with store.read():
        clock.advance(0.9)
    assert caplog.text == ""
    with store.read():
        clock.advance(1.5)
    assert "held for 1.5 s" in caplog.text


def test_a_thread_may_be_told_one_version_for_a_while(store: Store) -> None:
    before = store.version()
    with store.steady():
        assert store.version() == before
        write_user(store, "ada")
        assert store.version() == before
        told: list[int] = []
        other = threading.Thread(target=lambda: told.append(store.version()))
        other.start()
        other.join()
        assert told != [before]
    assert store.version() == told[0]
    with store.steady():
        assert store.version() == told[0]
