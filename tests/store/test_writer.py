"""The one writer: members, groups, and what they do to each other."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.store import IntegrityViolation, Store, Transaction, UniqueViolation
from tests.support.clock import FakeClock
from tests.support.queueing import Queue
from tests.support.rows import add_user, names_in, write_user
from tests.support.vfs import CountingVFS, FaultyVFS


@pytest.fixture
def counting(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Store, CountingVFS]]:
    with CountingVFS("counting") as vfs:
        store = Store.open(tmp_path / "secureai.db", clock=clock, vfs=vfs.name)
        # the first commit into a new log syncs its header besides
        store.check_writable()
        yield store, vfs
        store.close()


@pytest.fixture
def faulty(tmp_path: Path, clock: FakeClock) -> Iterator[tuple[Store, FaultyVFS]]:
    with FaultyVFS("faulty") as vfs:
        store = Store.open(tmp_path / "secureai.db", clock=clock, vfs=vfs.name)
        yield store, vfs
        vfs.heal()
        store.close()


def test_what_a_transaction_wrote_is_there_for_the_next_reader(store: Store) -> None:
    with store.transaction() as tx:
        add_user(tx, "ada")
        assert tx.run("UPDATE users SET name = 'grace'") == 1
    assert names_in(store) == {"grace"}


def test_waiting_writers_share_one_sync(counting: tuple[Store, CountingVFS]) -> None:
    store, vfs = counting
    queue = Queue(store)
    before = vfs.syncs("-wal")
    with store.transaction() as tx:
        add_user(tx, "first")
        for n in range(8):
            queue.start(lambda n=n: write_user(store, f"w{n}"))  # type: ignore[misc]
    assert queue.join() == [None] * 8
    assert vfs.syncs("-wal") - before == 1
    assert len(names_in(store)) == 9


def test_writers_one_after_the_other_each_commit_at_once(counting: tuple[Store, CountingVFS]) -> None:
    store, vfs = counting
    before = vfs.syncs("-wal")
    for n in range(5):
        write_user(store, f"w{n}")
    # the clock stands still: waiting for a group to grow old would never end
    assert vfs.syncs("-wal") - before == 5


def test_a_group_closes_at_64_members(counting: tuple[Store, CountingVFS]) -> None:
    store, vfs = counting
    queue = Queue(store)
    before = vfs.syncs("-wal")
    with store.transaction() as tx:
        add_user(tx, "first")
        for n in range(70):
            queue.start(lambda n=n: write_user(store, f"w{n}"))  # type: ignore[misc]
    assert queue.join() == [None] * 70
    assert vfs.syncs("-wal") - before == 2
    assert len(names_in(store)) == 71


def test_a_group_closes_after_20_milliseconds(counting: tuple[Store, CountingVFS], clock: FakeClock) -> None:
    store, vfs = counting
    queue = Queue(store)
    before = vfs.syncs("-wal")
    with store.transaction() as tx:
        add_user(tx, "first")
        queue.start(lambda: write_user(store, "second"))
        clock.advance(0.021)
    assert queue.join() == [None]
    assert vfs.syncs("-wal") - before == 2


def test_no_with_returns_before_the_commit(store: Store) -> None:
    seen: list[set[str]] = []
    queue = Queue(store)

    def write() -> None:
        write_user(store, "second")
        seen.append(names_in(store))

    with store.transaction() as tx:
        add_user(tx, "first")
        queue.start(write)
        assert names_in(store) == set()
    seen.append(names_in(store))
    queue.join()
    assert seen == [{"first", "second"}] * 2


def test_a_member_that_fails_rolls_back_only_itself(store: Store) -> None:
    queue = Queue(store)
    boom = ValueError("boom")

    def fail() -> None:
        with store.transaction() as tx:
            add_user(tx, "second")
            raise boom

    with store.transaction() as tx:
        add_user(tx, "first")
        queue.start(fail)
        queue.start(lambda: write_user(store, "third"))
    assert queue.join() == [boom, None]
    assert names_in(store) == {"first", "third"}


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_a_body_raises_comes_out_as_it_is_and_changes_nothing(store: Store, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, store.transaction() as tx:
        add_user(tx, "ada")
        raise error
    assert caught.value is error
    assert names_in(store) == set()
    write_user(store, "grace")
    assert names_in(store) == {"grace"}


@pytest.mark.parametrize("failing", range(5))
def test_a_full_disk_in_one_member_fails_its_whole_group_and_the_next_starts_anew(store: Store, failing: int) -> None:
    """Measured: SQLITE_FULL inside a savepoint rolls back the whole transaction, not only the savepoint."""
    connection = store._writer._connection
    queue = Queue(store)

    def member(n: int) -> None:
        with store.transaction() as tx:
            add_user(tx, f"m{n}")
            if n == failing:
                connection.pragma("max_page_count", connection.pragma("page_count"))
                try:
                    write_blob(tx)
                finally:
                    connection.pragma("max_page_count", 2**32 - 2)

    with store._writer._alone():
        for n in range(5):
            queue.start(lambda n=n: member(n))  # type: ignore[misc]
    outcomes = queue.join()
    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable] * (failing + 1) + [type(None)] * (
        4 - failing
    )
    assert all(outcome.retry_after for outcome in outcomes if isinstance(outcome, ServiceUnavailable))
    assert names_in(store) == {f"m{n}" for n in range(failing + 1, 5)}
    assert store.integrity(quick=False) == []


def test_a_body_that_goes_on_after_the_disk_was_full_can_write_nothing(store: Store) -> None:
    connection = store._writer._connection
    with pytest.raises(ServiceUnavailable), store.transaction() as tx:
        connection.pragma("max_page_count", connection.pragma("page_count"))
        with pytest.raises(ServiceUnavailable):
            write_blob(tx)
        connection.pragma("max_page_count", 2**32 - 2)
        with pytest.raises(ServiceUnavailable):
            add_user(tx, "stray")
        assert not connection.in_transaction
    assert names_in(store) == set()


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
def test_a_commit_that_fails_fails_every_member_of_the_group(
    faulty: tuple[Store, FaultyVFS], error: type[apsw.Error], caplog: pytest.LogCaptureFixture
) -> None:
    store, vfs = faulty
    queue = Queue(store)
    with store._writer._alone():
        for n in range(4):
            queue.start(lambda n=n: write_user(store, f"m{n}"))  # type: ignore[misc]
        vfs.break_at(1, error=error, only=("sync",))
    outcomes = queue.join()
    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable] * 4
    assert len({id(outcome) for outcome in outcomes}) == 4
    assert error.__name__ in caplog.text
    assert names_in(store) == set()
    write_user(store, "after")
    assert names_in(store) == {"after"}


def test_a_conflict_that_rested_on_a_failed_commit_is_not_told(faulty: tuple[Store, FaultyVFS]) -> None:
    """The second member finds the first one's address taken, but then the first one was never stored."""
    store, vfs = faulty
    queue = Queue(store)
    with store._writer._alone():
        queue.start(lambda: write_user(store, "same"))
        queue.start(lambda: write_user(store, "same"))
        vfs.break_at(1, error=apsw.IOError, only=("sync",))
    assert [type(outcome) for outcome in queue.join()] == [ServiceUnavailable] * 2
    assert names_in(store) == set()


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


def test_any_mix_of_failures_hangs_nobody_and_keeps_exactly_what_was_answered(
    faulty: tuple[Store, FaultyVFS], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, vfs = faulty
    monkeypatch.setattr("secureai_appliance.store.writer.CHECKPOINT_PAGES", 50)
    answered: list[str] = []
    refused: list[str] = []

    def work(thread: int) -> None:
        chance = random.Random(thread)
        for n in range(30):
            name = f"{thread}-{n}"
            try:
                with store.transaction() as tx:
                    add_user(tx, name)
                    if chance.random() < 0.1:
                        raise ZeroDivisionError
                    if chance.random() < 0.1:
                        vfs.break_at(chance.randint(1, 10), error=chance.choice([apsw.FullError, apsw.IOError]))
                answered.append(name)
            except (ZeroDivisionError, ServiceUnavailable) as error:
                refused.append(type(error).__name__)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    vfs.heal()
    assert names_in(store) == set(answered)
    assert len(answered) + len(refused) == 12 * 30
    assert set(refused) == {"ZeroDivisionError", "ServiceUnavailable"}
    assert store.integrity(quick=False) == []


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


def write_blob(tx: Transaction) -> None:
    tx.run(
        "INSERT INTO idempotency (caller, key, request_hash, state, body, created_at)"
        " VALUES ('c', 'k', x'00', 'done', zeroblob(100000), 0)"
    )


def _now(store: Store) -> int:
    with store.transaction() as tx:
        return tx.now()
