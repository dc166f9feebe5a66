"""How the file comes into the world: complete, or not at all."""

from __future__ import annotations

from pathlib import Path

import apsw

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import StartupError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.paths import flush_to_disk
from secureai_appliance.store import migrations
from secureai_appliance.store.connection import PAGE_SIZE, Options, create_file, open_writer


def give_birth(path: Path, options: Options, clock: Clock) -> None:
    """Make the file under another name and rename it when it is whole. Raises StartupError, OSError, apsw.Error.

    1. Refuse when a log lies there without its database: SQLite would write its pages into the new one.
    2. Clear away what an earlier try left.
    3. Make the file, its settings, its tables and the installation's own row, and write its log back into it.
    4. Rename it, and sync the folder so that the name survives a power cut.
    """
    for suffix in ("-wal", "-journal"):
        log = path.with_name(path.name + suffix)
        if log.exists() and log.stat().st_size > 0:
            raise StartupError(f"{path} is missing, but {log.name} is there: put the database back, or move it away.")
    newborn = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        newborn.with_name(newborn.name + suffix).unlink(missing_ok=True)
    create_file(newborn)
    connection = open_writer(newborn, options)
    try:
        _settle_for_life(connection)
        migrations.migrate(connection, path)
        _name_instance(connection, clock)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()
    newborn.replace(path)
    flush_to_disk(path.parent)


def _settle_for_life(connection: apsw.Connection) -> None:
    """What only an empty file takes."""
    connection.pragma("page_size", PAGE_SIZE)
    connection.pragma("auto_vacuum", 2)
    connection.pragma("journal_mode", "wal")


def _name_instance(connection: apsw.Connection, clock: Clock) -> None:
    now = int(clock.now())
    connection.execute(
        "INSERT INTO instance (id, instance_id, created_at, last_time) VALUES (1, ?, ?, ?)", (new_id("inst"), now, now)
    )
