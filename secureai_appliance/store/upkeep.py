"""What keeps the file in shape: statistics, pages that were freed, the length of the log. In small steps."""

from __future__ import annotations

from secureai_appliance.store.store import Store

FREED_AT_ONCE = 256
"""Pages given back in one step: about 2 MB, a few milliseconds."""
LONG_LOG_BYTES = 64 * 1024 * 1024
ALARM_LOG_BYTES = 512 * 1024 * 1024
_ROWS_LOOKED_AT = 400
_ANALYZE, _ALL_TABLES = 0x02, 0x10000


def give_back(store: Store) -> bool:
    """Give a few freed pages back to the disk; whether there are more."""
    with store.read() as db:
        if not db.value("PRAGMA freelist_count"):
            return False
    with store.transaction() as tx:
        tx.run(f"PRAGMA incremental_vacuum({FREED_AT_ONCE})")
        return bool(tx.value("PRAGMA freelist_count"))


def optimize(store: Store) -> None:
    """Bring the statistics that queries are planned by up to date, where SQLite finds it worth while."""
    with store.transaction() as tx:
        tx.run(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}")
        # of all tables: this connection writes, and doesn't know which ones the readers ask
        tx.run(f"PRAGMA optimize = {_ALL_TABLES | _ANALYZE}")


def shorten_log(store: Store) -> None:
    """Cut a log that has grown long; nothing to do for a short one. Raises ServiceUnavailable."""
    if log_bytes(store) > LONG_LOG_BYTES:
        store.checkpoint()


def log_bytes(store: Store) -> int:
    """How long the write-ahead log is."""
    try:
        return store.path.with_name(store.path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0
