"""Group commit: writers share one commit, and what becomes of a group when it fails."""

from __future__ import annotations

import random
import threading

import apsw
import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.queueing import Queue
from tests.support.rows import add_user, names_in, write_blob, write_user
from tests.support.vfs import CountingVFS, FaultyVFS


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
