"""Reading: one connection inside one read transaction, and the pool that such connections come from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import apsw

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.store.errors import RETRY_AFTER, read_failure

KEPT_CONNECTIONS = 16
HELD_TOO_LONG = 1.0

log = logging.getLogger(__name__)

Row = tuple[Any, ...]


class Reader:
    """One consistent state of the store. Raises ServiceUnavailable when storage can't be read."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._walking: list[apsw.Cursor] = []

    def all(self, sql: str, *params: Any) -> list[Row]:
        """Every row."""
        try:
            return self._execute(sql, params).fetchall()
        except apsw.Error as cause:
            raise self._failure(cause) from cause

    def one(self, sql: str, *params: Any) -> Row | None:
        """The first row, None when there is none."""
        try:
            cursor = self._execute(sql, params)
            row = cursor.fetchone()
            # a statement that is not at its end would keep the transaction open
            cursor.close()
        except apsw.Error as cause:
            raise self._failure(cause) from cause
        return row

    def value(self, sql: str, *params: Any) -> Any:
        """The first column of the first row, None when there is no row."""
        row = self.one(sql, *params)
        return None if row is None else row[0]

    def rows(self, sql: str, *params: Any) -> Iterator[Row]:
        """Row by row, for results that don't fit into memory; ends with the transaction."""
        try:
            cursor = self._execute(sql, params)
            self._walking.append(cursor)
            yield from cursor
        except apsw.Error as cause:
            raise self._failure(cause) from cause

    def _execute(self, sql: str, params: tuple[Any, ...]) -> apsw.Cursor:
        return self._connection.execute(sql, params)

    def _failure(self, cause: apsw.Error) -> Exception:
        return read_failure(cause)

    def _finish(self) -> None:
        for cursor in self._walking:
            cursor.close(True)
        self._walking.clear()


class ReaderPool:
    """Connections for reading, as many as there are threads that read, of which some are kept open."""

    def __init__(self, connect: Callable[[], apsw.Connection], clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._closed = False

    def read(self) -> AbstractContextManager[Reader]:
        """A read transaction: it sees what was committed when its first statement ran, and waits for nobody."""
        return _Reading(self)

    def close(self) -> None:
        """Close what is idle now, and the rest as it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> apsw.Connection:
        with self._lock:
            if self._closed:
                raise ServiceUnavailable("The service is shutting down.", retry_after=RETRY_AFTER)
            if self._idle:
                return self._idle.pop()
        try:
            return self._connect()
        except apsw.Error as cause:
            raise read_failure(cause) from cause

    def _give_back(self, connection: apsw.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except apsw.Error:
            log.exception("a connection for reading is given up")
            connection.close(True)
            return
        with self._lock:
            if not self._closed and len(self._idle) < KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


class _Reading(AbstractContextManager[Reader]):
    """One read transaction. A class, because every request has some, and a generator costs three times as much."""

    def __init__(self, pool: ReaderPool) -> None:
        self._pool = pool

    def __enter__(self) -> Reader:
        self._connection = self._pool._take()
        self._started = self._pool._clock.monotonic()
        self._reader = Reader(self._connection)
        try:
            self._connection.execute("BEGIN")
        except BaseException:
            self._end()
            raise
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._reader._finish()
        self._pool._give_back(self._connection)
        held = self._pool._clock.monotonic() - self._started
        if held > HELD_TOO_LONG:
            # the log of the store can't be written back past a reader, so it grows as long as one stays
            log.warning("a read transaction was held for %.1f s", held)


class _Told(threading.local):
    """What a thread was told."""

    steady = False
    version: int | None = None


class Watch:
    """Tells whether anybody has written: this process or another one. Safe to use from any thread."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._closed = False
        self._told = _Told()

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Inside, this thread is told one version: that of the first time it asks."""
        self._told.steady, self._told.version = True, None
        try:
            yield
        finally:
            self._told.steady = False

    def version(self) -> int:
        """A number that differs from the one before whenever something was committed in between."""
        told = self._told
        if not told.steady:
            return self._look()
        if told.version is None:
            told.version = self._look()
        return told.version

    def _look(self) -> int:
        with self._lock:
            if self._closed:
                raise ServiceUnavailable("The service is shutting down.", retry_after=RETRY_AFTER)
            try:
                if self._connection is None:
                    self._connection = self._connect()
                rows = self._connection.execute("PRAGMA data_version").fetchall()
            except apsw.Error as cause:
                raise read_failure(cause) from cause
            return cast(int, rows[0][0])

    def close(self) -> None:
        """Give the connection up."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None
