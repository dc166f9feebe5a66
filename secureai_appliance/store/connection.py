"""The one place where the database file is opened. A key for the whole file will be given here."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import apsw
import sqlite_vec

from secureai_appliance.core.errors import StartupError

APPLICATION_ID = 0x53414941  # "SAIA"
PAGE_SIZE = 8192
_JOURNAL_SIZE_LIMIT = 64 * 1024 * 1024
_STATEMENT_CACHE = 200

Synchronous = Literal["FULL", "NORMAL", "OFF"]


@dataclass(frozen=True)
class Options:
    """How connections are opened. `vfs` and a `synchronous` other than FULL are for tests."""

    vfs: str | None = None
    synchronous: Synchronous = "FULL"
    patience: float = 5.0
    """Seconds that a writer waits for its turn, other processes included."""


def open_writer(path: Path, options: Options) -> apsw.Connection:
    """A connection that may write. It never checkpoints by itself: the writer does, after it has answered."""
    connection = _open(path, options)
    connection.pragma("wal_autocheckpoint", 0)
    connection.pragma("journal_size_limit", _JOURNAL_SIZE_LIMIT)
    return connection


def open_reader(path: Path, options: Options) -> apsw.Connection:
    """A connection on which every write fails."""
    connection = _open(path, options)
    connection.pragma("query_only", True)
    return connection


def _open(path: Path, options: Options) -> apsw.Connection:
    connection = apsw.Connection(
        str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=options.vfs, statementcachesize=_STATEMENT_CACHE
    )
    try:
        _configure(connection, options)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: apsw.Connection, options: Options) -> None:
    connection.set_busy_timeout(int(options.patience * 1000))
    _distrust_the_file(connection)
    connection.pragma("foreign_keys", True)
    connection.pragma("recursive_triggers", True)
    connection.pragma("synchronous", options.synchronous)
    connection.pragma("temp_store", 1)
    connection.pragma("cache_size", -8000)
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)


def _distrust_the_file(connection: apsw.Connection) -> None:
    """A file that somebody prepared runs nothing of its own and breaks nothing but itself."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.pragma("cell_size_check", True)


def use_temporary_folder() -> None:
    """Send SQLite's temporary files where `SQLITE_TMPDIR` or `TMPDIR` point now.

    SQLite itself reads both variables once, when it is imported, which is before the data folder is known.
    """
    folder = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or ""
    quoted = folder.replace("'", "''")
    connection = apsw.Connection(":memory:")
    try:
        connection.execute(f"PRAGMA temp_store_directory = '{quoted}'")
    finally:
        connection.close()


def create_file(path: Path) -> None:
    """Make an empty file, for its owner alone: the -wal and -shm files take over its mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def keep_private(path: Path) -> None:
    """Take back what others were allowed to do with the file meanwhile."""
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


@dataclass(frozen=True)
class Identity:
    """What a file says of itself."""

    application_id: int
    schema_version: int
    key_check: bytes | None
    """Something sealed under the master key that belongs to this file."""


def identify(path: Path, options: Options) -> Identity | None:
    """Look at a file without changing a byte beside or in it; None when it isn't there or has no content.

    Raises StartupError when it is no database at all, apsw.Error when it can't be read.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        return _identify(path, options)
    except apsw.NotADBError as cause:
        raise StartupError(f"{path} is not a database of SecureAI Appliance: nothing was changed.") from cause


def _identify(path: Path, options: Options) -> Identity:
    wal = path.with_name(path.name + "-wal")
    if not wal.exists() or wal.stat().st_size == 0:
        # without a log the file alone is the truth, and `immutable` neither locks nor creates anything
        return _read_identity(path, options, immutable=True)
    try:
        # a log that a crash left behind counts too: alone with it, SQLite keeps its index in memory, not in a file
        return _read_identity(path, options, exclusive=True)
    except apsw.BusyError:
        # another process has it open, so that log and index are there already
        return _read_identity(path, options)


def _key_check(connection: apsw.Connection) -> bytes | None:
    known = "SELECT 1 FROM pragma_table_info('instance') WHERE name = 'key_check'"
    if connection.execute(known).fetchone() is None:
        return None
    row = connection.execute("SELECT key_check FROM instance").fetchone()
    return None if row is None else row[0]


def _read_identity(path: Path, options: Options, *, immutable: bool = False, exclusive: bool = False) -> Identity:
    query = "?immutable=1" if immutable else ""
    mode = apsw.SQLITE_OPEN_READONLY if immutable else apsw.SQLITE_OPEN_READWRITE
    uri = f"file:{urllib.parse.quote(str(path.absolute()))}{query}"
    connection = apsw.Connection(uri, flags=mode | apsw.SQLITE_OPEN_URI, vfs=options.vfs)
    try:
        # or closing would write the log back and delete it
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("query_only", True)
        if exclusive:
            connection.pragma("locking_mode", "exclusive")
        return Identity(
            application_id=connection.pragma("application_id"),
            schema_version=connection.pragma("user_version"),
            key_check=_key_check(connection),
        )
    finally:
        connection.close()
