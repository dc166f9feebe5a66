"""The schema, as numbered files that are only ever added to; each is one transaction, all or nothing."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path

import apsw

from secureai_appliance.core.errors import EXIT_NEWER_SCHEMA, StartupError
from secureai_appliance.store.connection import APPLICATION_ID, Identity


@cache
def scripts() -> tuple[str, ...]:
    """The SQL of every migration, in order: the first one makes schema version 1."""
    folder = resources.files("secureai_appliance.store") / "schema"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    for number, file in enumerate(files, start=1):
        if not file.name.startswith(f"{number:04d}_"):
            raise RuntimeError(f"schema/{file.name} stands where number {number:04d} is expected")
    return tuple(file.read_text("utf-8") for file in files)


def refuse_strangers(identity: Identity, path: Path) -> None:
    """Raise StartupError for a file of another program, or of a newer version of this one (exit code 5)."""
    if identity.application_id != APPLICATION_ID:
        raise StartupError(f"{path} is a database of another program: nothing was changed.")
    refuse_newer(identity.schema_version, path)


def refuse_newer(version: int, path: Path) -> None:
    """Raise StartupError (exit code 5) when the schema is of a version that this program doesn't know."""
    known = len(scripts())
    if version > known:
        raise StartupError(
            f"{path} was written by a newer version of SecureAI Appliance (schema {version}, this one knows {known}): "
            "nothing was changed. Start the newer version, or restore a backup that was made before the update.",
            EXIT_NEWER_SCHEMA,
        )


@contextmanager
def only_one_process(folder: Path) -> Iterator[None]:
    """Births and migrations happen one after the other, also when a command and the server start together."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring the file to the newest schema. Raises StartupError, or apsw.Error and then the step has changed nothing."""
    if connection.pragma("user_version") == len(scripts()):
        return
    # tables are rebuilt by dropping the old one, which must not take along what refers to it; checked step by step
    connection.pragma("foreign_keys", False)
    try:
        for number, script in enumerate(scripts(), start=1):
            _apply(connection, number, script, path)
    finally:
        connection.pragma("foreign_keys", True)


def _apply(connection: apsw.Connection, number: int, script: str, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.pragma("user_version")
        refuse_newer(version, path)
        if version < number:
            connection.pragma("application_id", APPLICATION_ID)
            for _ in connection.execute(script, can_cache=False):
                pass
            broken = connection.execute("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise StartupError(f"Migration {number} of {path} would leave {len(broken)} rows without their owner.")
            connection.pragma("user_version", number)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
