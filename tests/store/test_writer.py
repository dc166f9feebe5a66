"""The one writer: members, groups, and what they do to each other."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.store import IntegrityViolation, Store, UniqueViolation
from tests.support.clock import FakeClock
from tests.support.queueing import Queue
from tests.support.rows import add_user, names_in, write_blob, write_user
from tests.support.vfs import CountingVFS, FaultyVFS


def test_what_a_transaction_wrote_is_there_for_the_next_reader(store: Store) -> None:
    with store.transaction() as tx:
        add_user(tx, "ada")
        assert tx.run("UPDATE users SET name = 'grace'") == 1
    assert names_in(store) == {"grace"}


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_a_body_raises_comes_out_as_it_is_and_changes_nothing(store: Store, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, store.transaction() as tx:
        add_user(tx, "ada")
        raise error
    assert caught.value is error
    assert names_in(store) == set()
    write_user(store, "grace")
    assert names_in(store) == {"grace"}


def test_a_unique_violation_names_its_columns_and_undoes_only_the_statement(store: Store) -> None:
    with store.transaction() as tx:
        add_user(tx, "ada")
        with pytest.raises(UniqueViolation) as caught:
            tx.run("INSERT INTO model_aliases (alias, model_id, created_at) VALUES ('a', 'm', 0), ('a', 'm', 0)")
    assert caught.value.columns == ("model_aliases.alias",)
    assert names_in(store) == {"ada"}


def test_a_unique_violation_of_a_primary_key_names_all_of_its_columns(store: Store) -> None:
    with store.transaction() as tx:
        write_blob(tx)
        with pytest.raises(UniqueViolation) as caught:
            write_blob(tx)
    assert caught.value.columns == ("idempotency.caller", "idempotency.key")


@pytest.mark.parametrize(
    "values",
    [
        "'k1', 'usr-nobody', 'n', x'01', 'p', 0, 0",
        "'k1', 'usr-ada', NULL, x'01', 'p', 0, 0",
        "'k1', 'usr-ada', 'n', x'01', 'p', 'yesterday', 0",
    ],
    ids=["foreign key", "not null", "type"],
)
def test_a_row_against_the_schema_is_an_integrity_violation(store: Store, values: str) -> None:
    write_user(store, "ada")
    columns = "id, user_id, name, secret_hash, prefix, created_at, updated_at"
    with store.transaction() as tx, pytest.raises(IntegrityViolation) as caught:
        tx.run(f"INSERT INTO api_keys ({columns}) VALUES ({values})")
    assert not isinstance(caught.value, UniqueViolation)


def test_a_role_that_does_not_exist_is_an_integrity_violation(store: Store) -> None:
    write_user(store, "ada")
    with store.transaction() as tx, pytest.raises(IntegrityViolation):
        tx.run("UPDATE users SET role = 'king'")


def test_addresses_are_unique_in_any_case_of_letters(store: Store) -> None:
    write_user(store, "ada")
    with pytest.raises(UniqueViolation) as caught, store.transaction() as tx:
        add_user(tx, "ADA")
    assert caught.value.columns == ("users.email",)


def test_transactions_do_not_nest(store: Store) -> None:
    with store.transaction() as tx:
        with pytest.raises(RuntimeError), store.transaction():
            raise AssertionError
        add_user(tx, "ada")
    assert names_in(store) == {"ada"}


def test_a_transaction_is_of_no_use_after_its_end(store: Store) -> None:
    with store.transaction() as tx:
        add_user(tx, "ada")
        walk = tx.rows("SELECT * FROM users")
        next(walk)
    with pytest.raises(RuntimeError):
        tx.run("DELETE FROM users")
    with pytest.raises(RuntimeError):
        tx.one("SELECT 1")
    assert names_in(store) == {"ada"}


def test_callbacks_run_after_the_commit_and_may_write_themselves(store: Store) -> None:
    seen: list[set[str]] = []
    with store.transaction() as tx:
        add_user(tx, "ada")
        tx.after_commit(lambda: seen.append(names_in(store)))
        tx.after_commit(lambda: write_user(store, "grace"))
        assert seen == []
    assert seen == [{"ada"}]
    assert names_in(store) == {"ada", "grace"}


def test_callbacks_of_a_transaction_that_is_rolled_back_never_run(faulty: tuple[Store, FaultyVFS]) -> None:
    store, vfs = faulty
    seen: list[str] = []
    with pytest.raises(ValueError, match="no"), store.transaction() as tx:
        tx.after_commit(lambda: seen.append("member"))
        raise ValueError("no")
    vfs.break_at(1, error=apsw.IOError, only=("sync",))
    with pytest.raises(ServiceUnavailable), store.transaction() as tx:
        add_user(tx, "ada")
        tx.after_commit(lambda: seen.append("group"))
    assert seen == []


def test_a_callback_that_fails_neither_undoes_nor_hides_the_change(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    with store.transaction() as tx:
        add_user(tx, "ada")
        tx.after_commit(lambda: seen.append(1 // 0))
        tx.after_commit(lambda: seen.append(2))
    assert seen == [2]
    assert "ZeroDivisionError" in caplog.text


def test_time_never_goes_back_not_even_over_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    store = Store.open(path, clock=clock)
    start = int(clock.now())
    clock.advance(100.9)
    times = [_now(store)]
    clock.set(clock.now() - 5000)
    times.append(_now(store))
    store.close()
    store = Store.open(path, clock=clock)
    times.append(_now(store))
    clock.set(clock.now() + 6000)
    times.append(_now(store))
    store.close()
    assert times == [start + 100, start + 100, start + 100, start + 1100]


def test_time_stands_still_inside_a_transaction(store: Store, clock: FakeClock) -> None:
    with store.transaction() as tx:
        first = tx.now()
        clock.advance(10)
        assert tx.now() == first


def test_a_writer_waits_for_another_process_as_long_as_its_patience(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    store = Store.open(path, clock=clock, patience=0.05)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailable) as caught:
        write_user(store, "ada")
    assert caught.value.retry_after == 1
    other.execute("COMMIT")
    other.close()
    write_user(store, "ada")
    assert names_in(store) == {"ada"}
    store.close()


def test_a_writer_goes_on_when_the_other_process_is_done(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    store = Store.open(path, clock=clock)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    tried = threading.Event()
    busy = threading.Thread(target=lambda: (tried.set(), write_user(store, "ada")))
    busy.start()
    assert tried.wait(10)
    other.execute("UPDATE instance SET last_time = last_time + 7")
    other.execute("COMMIT")
    busy.join(10)
    other.close()
    assert names_in(store) == {"ada"}
    store.close()


def test_a_writer_whose_turn_does_not_come_is_told_so(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=clock, patience=0.05)
    queue = Queue(store)
    with store.transaction() as tx:
        add_user(tx, "first")
        queue.start(lambda: write_user(store, "second"))
        outcomes = queue.join()
    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable]
    write_user(store, "third")
    assert names_in(store) == {"first", "third"}
    store.close()


def test_readers_never_wait_for_a_writer(store: Store) -> None:
    write_user(store, "ada")
    with store.transaction() as tx:
        add_user(tx, "grace")
        assert names_in(store) == {"ada"}
    assert names_in(store) == {"ada", "grace"}


def test_a_write_that_is_held_for_long_is_reported(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with store.transaction():
        clock.advance(1.5)
    assert "held for 1.5 s" in caplog.text


def test_a_closed_store_refuses_politely(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=clock)
    store.close()
    store.close()
    with pytest.raises(ServiceUnavailable), store.transaction():
        raise AssertionError
    with pytest.raises(ServiceUnavailable), store.read():
        raise AssertionError


def test_writers_that_wait_while_the_store_closes_are_refused(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=clock)
    queue = Queue(store)
    with store.transaction() as tx:
        add_user(tx, "first")
        queue.start(store.close)
        queue.start(lambda: write_user(store, "late"))
    assert [type(outcome) for outcome in queue.join()] == [type(None), ServiceUnavailable]
    reopened = Store.open(tmp_path / "secureai.db", clock=clock)
    assert names_in(reopened) == {"first"}
    reopened.close()


def test_the_log_is_written_back_when_it_is_long(
    counting: tuple[Store, CountingVFS], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vfs = counting
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 20)
    for n in range(20):
        write_user(store, f"w{n}")
    assert vfs.counted["sync", "secureai.db"] >= 2
    assert (store.path.with_name("secureai.db-wal")).stat().st_size < 60 * 8192


def test_a_log_that_a_reader_makes_grow_is_reported_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 5)
    monkeypatch.setattr("secureai_appliance.store.writer.WAL_ALARM_BYTES", 50 * 8192)
    with store.read() as db:
        db.value("SELECT 1 FROM users")
        for n in range(20):
            write_user(store, f"w{n}")
    # another appliance of the tests may be at work beside
    mine = [record for record in caplog.records if record.thread == threading.get_ident()]
    assert [record.levelname for record in mine if "reads for too long" in record.message] == ["ERROR"]


def _now(store: Store) -> int:
    with store.transaction() as tx:
        return tx.now()
