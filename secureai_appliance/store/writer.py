"""Writing: one connection, whose turn goes from thread to thread, and whose commits are shared.

A group is one `BEGIN IMMEDIATE … COMMIT`; each member is a savepoint in it. Whoever has the turn and finds nobody
waiting behind (or the group full or old) commits for all. No `with` returns before that commit has: what was answered
is stored.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.store.connection import PAGE_SIZE
from secureai_appliance.store.errors import BUSY_RETRY_AFTER, RETRY_AFTER, write_failure
from secureai_appliance.store.reader import Reader
from secureai_appliance.store.turn import Turn

GROUP_MEMBERS = 64
GROUP_SECONDS = 0.020
CHECKPOINT_PAGES = 1000
HELD_TOO_LONG = 1.0
WAL_ALARM_BYTES = 512 * 1024 * 1024

# changes a page each time: SQLite skips the write of a row that is what it was
PROBE = "UPDATE instance SET probe = 1 - probe WHERE id = 1"

log = logging.getLogger(__name__)


class Transaction(Reader):
    """One member of a group: all of its statements are stored, or none is.

    Raises UniqueViolation and IntegrityViolation (only that statement is undone), ServiceUnavailable when storage can't
    be written.
    """

    chain_key: bytes
    """The key of the audit chain; empty when the store was opened without."""
    recorded: int
    """Rows that this transaction added to the audit log."""

    def __init__(self, connection: apsw.Connection, clock: Clock, chain_key: bytes = b"") -> None:
        super().__init__(connection)
        self.chain_key = chain_key
        self.recorded = 0
        self._clock = clock
        self._untouched = connection.total_changes()
        self._started = clock.monotonic()
        self._now: int | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._refusal: Exception | None = None
        self._lost_to: apsw.Error | None = None

    def run(self, sql: str, *params: Any) -> int:
        """Execute a statement; the number of rows that it changed."""
        try:
            for _ in self._execute(sql, params):
                pass
        except apsw.Error as cause:
            raise self._failure(cause) from cause
        return self._connection.changes()

    @property
    def has_changed(self) -> bool:
        """Whether a row was inserted, changed or deleted so far; that the time was noted doesn't count."""
        return self._connection.total_changes() > self._untouched

    def now(self) -> int:
        """Unix time in whole seconds, one value per transaction; never less than any that the file has seen."""
        if self._now is None:
            stored: int = self.value("SELECT last_time FROM instance WHERE id = 1")
            self._now = max(int(self._clock.now()), stored)
            if self._now > stored:
                self._untouched += self.run("UPDATE instance SET last_time = ? WHERE id = 1", self._now)
        return self._now

    def wall(self) -> int:
        """Unix time in whole seconds as the clock tells it: for what begins or ends at a moment, now or before.

        `now` is for when a row was written. It never goes back, so that it stands still after a clock that was set
        too far ahead was put right.
        """
        return int(self._clock.now())

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` on this thread once the change is stored; never when it was rolled back.

        It can't undo anything any more: what it raises is logged, and the change counts as made.
        """
        self._callbacks.append(callback)

    def _execute(self, sql: str, params: tuple[Any, ...]) -> apsw.Cursor:
        if self._refusal is not None:
            raise self._refusal
        return super()._execute(sql, params)

    def _failure(self, cause: apsw.Error) -> Exception:
        failure = write_failure(cause)
        if not self._connection.in_transaction:
            # SQLite undid the whole group: another statement would run, and be stored, on its own
            self._refusal, self._lost_to = unavailable(), cause
        return failure

    def _close(self) -> None:
        self._finish()
        held = self._clock.monotonic() - self._started
        if held > HELD_TOO_LONG:
            log.warning("a write transaction was held for %.1f s: all other writers waited", held)
        self._refusal = RuntimeError("this transaction is over")

    def _call_back(self) -> None:
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                log.exception("what was to be done after a commit failed; the change is stored")


class _Group:
    """Members that share one commit."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.members = 0
        self.changed = False
        self.stored = False
        self.cause: BaseException | None = None
        self.settled = threading.Event()

    def is_open(self, now: float) -> bool:
        return self.members < GROUP_MEMBERS and now - self.started < GROUP_SECONDS

    def settle(self, stored: bool) -> None:
        self.stored = stored
        self.settled.set()


def unavailable() -> ServiceUnavailable:
    """A new failure for each member that raises it."""
    return ServiceUnavailable("Storage can't be written at the moment. Nothing was changed.", retry_after=RETRY_AFTER)


class Writer:
    """The only connection that writes, shared by all threads of the process."""

    def __init__(self, connection: apsw.Connection, clock: Clock, patience: float, chain_key: bytes = b"") -> None:
        self._connection = connection
        self._clock = clock
        self._patience = patience
        self.chain_key = chain_key
        self._turn = Turn()
        self._group: _Group | None = None
        self._closed = False
        self._wal_pages = 0
        self._alarmed = False
        connection.set_wal_hook(self._measure_wal)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """See `Store.transaction`."""
        group = self._enter()
        tx = Transaction(self._connection, self._clock, self.chain_key)
        try:
            yield tx
        except BaseException as error:
            self._leave(tx, group, keep=False)
            # an ordinary error (a conflict, say) may rest on what others of the group wrote: it holds only if that does
            if isinstance(error, Exception) and not isinstance(error, ServiceUnavailable):
                self._await(group)
            raise
        self._leave(tx, group, keep=True)
        self._await(group)
        tx._call_back()

    def checkpoint(self) -> None:
        """Write the whole log back into the file and cut it to nothing. Raises ServiceUnavailable."""
        with self._alone():
            try:
                self._truncate_log()
            except apsw.Error as cause:
                raise write_failure(cause) from cause

    def close(self) -> None:
        """Write the log back and close. Whoever still waits gets ServiceUnavailable. Closing twice is fine."""
        if self._closed:
            return
        with self._alone():
            self._closed = True
            try:
                self._truncate_log()
            except apsw.Error as cause:
                # nothing is lost: the next start reads the log
                log.error("the log could not be written back at the end: %s: %s", type(cause).__name__, cause)
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                self._connection.close()
            except apsw.Error as cause:
                log.error("the empty log could not be deleted: %s: %s", type(cause).__name__, cause)

    def _truncate_log(self) -> None:
        # waits for readers, which are done within a second
        self._connection.set_busy_timeout(int(self._patience * 1000))
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The turn, with no group open: what waited is committed first."""
        self._take_turn(self._patience)
        try:
            if self._group is not None:
                self._commit(self._group)
            yield
        finally:
            self._turn.give_up()

    def _take_turn(self, patience: float) -> None:
        if self._turn.is_mine():
            raise RuntimeError("transactions don't nest: pass `tx` on")
        try:
            reached = self._turn.take(patience)
        except BaseException:
            if self._turn.is_mine():
                self._pass_on()
            raise
        if not reached:
            log.error("no turn to write within %.1f s", patience)
            raise ServiceUnavailable("Storage is busy. Nothing was changed.", retry_after=BUSY_RETRY_AFTER)
        if self._closed:
            self._turn.give_up()
            raise ServiceUnavailable("The service is shutting down.", retry_after=RETRY_AFTER)

    def _enter(self) -> _Group:
        """Take the turn, join the group or begin one, and set the member's savepoint."""
        deadline = time.monotonic() + self._patience
        self._take_turn(self._patience)
        try:
            group = self._group
            if group is None:
                group = self._begin(deadline)
            self._connection.execute("SAVEPOINT member")
            group.members += 1
        except BaseException as cause:
            self._pass_on()
            if isinstance(cause, apsw.Error):
                raise write_failure(cause) from cause
            raise
        return group

    def _begin(self, deadline: float) -> _Group:
        # another process may hold the lock; those who waited here meanwhile have that much less patience left
        self._connection.set_busy_timeout(max(0, int((deadline - time.monotonic()) * 1000)))
        self._connection.execute("BEGIN IMMEDIATE")
        self._group = _Group(self._clock.monotonic())
        return self._group

    def _leave(self, tx: Transaction, group: _Group, *, keep: bool) -> None:
        """Keep or undo what the member did, and pass the turn on or commit."""
        try:
            tx._close()
            if not self._connection.in_transaction:
                self._abandon(group, tx._lost_to)
                return
            if keep:
                group.changed = True
            else:
                self._connection.execute("ROLLBACK TO member")
            self._connection.execute("RELEASE member")
        except apsw.Error as cause:
            self._abandon(group, cause)
        finally:
            self._pass_on()

    def _await(self, group: _Group) -> None:
        group.settled.wait()
        if not group.stored:
            raise unavailable() from group.cause

    def _pass_on(self) -> None:
        """The duty of whoever has the turn: the next in the queue goes on with the group, or it ends here."""
        group = self._group
        if group is not None and group.is_open(self._clock.monotonic()) and self._turn.hand_over():
            return
        try:
            if group is not None:
                self._commit(group)
        finally:
            self._turn.give_up()

    def _commit(self, group: _Group) -> None:
        self._group = None
        try:
            self._connection.execute("COMMIT" if group.changed else "ROLLBACK")
        except apsw.Error as cause:
            self._roll_back()
            self._overwrite_failed_commit()
            self._abandon(group, cause)
        except BaseException:
            group.settle(stored=not self._connection.in_transaction)
            raise
        else:
            group.settle(stored=True)
            self._write_back()

    def _abandon(self, group: _Group, cause: apsw.Error | None) -> None:
        """End a group of which nothing was stored."""
        self._group = None
        log.error("a group of %d transactions failed: %s: %s", group.members, type(cause).__name__, cause)
        self._roll_back()
        group.cause = cause
        group.settle(stored=False)

    def _overwrite_failed_commit(self) -> None:
        """Put a harmless commit where the failed one stands in the log.

        When the disk refused only the sync, the failed commit is whole in the log. This process ignores it, but were it
        killed now, the next one would take it for stored. The next commit of anybody has the same effect.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(PROBE)
            self._connection.execute("COMMIT")
        except apsw.Error as cause:
            log.error("storage still fails: %s: %s", type(cause).__name__, cause)
            self._roll_back()

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            log.exception("a failed transaction could not be rolled back")

    def _measure_wal(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _write_back(self) -> None:
        """Copy the log into the file when it is long enough. The answers are out: an error means trying again later."""
        if self._wal_pages < CHECKPOINT_PAGES:
            return
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as cause:
            log.error("the log could not be written back: %s: %s", type(cause).__name__, cause)
        too_long = self._wal_pages * PAGE_SIZE > WAL_ALARM_BYTES
        if too_long and not self._alarmed:
            log.error("the log of the store is over %d MB: something reads for too long", WAL_ALARM_BYTES >> 20)
        self._alarmed = too_long
