"""A store whose audit log can be written, as `open_store` makes it, and a look into that log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secureai_appliance.core.clock import Clock
from secureai_appliance.governance import audit, chain
from secureai_appliance.governance.audit import AuditLog
from secureai_appliance.store import Reader, Store

CHAIN_KEY = b"k" * 32


def open_audited(path: Path, clock: Clock, **options: Any) -> Store:
    """Open or make the file."""
    store = Store.open(path, clock=clock, chain_key=CHAIN_KEY, **options)
    with store.transaction() as tx:
        chain.begin(tx)
    return store


def rows(db: Reader, after: int = 0) -> list[AuditLog]:
    """The log's rows with a number over `after`, oldest first."""
    found = db.all(f"SELECT {audit.SPEC.columns} FROM audit_log WHERE row_id > ? ORDER BY row_id", after)
    return [audit.shown(row) for row in found]


def newest(store: Store) -> int:
    """The number of the newest row."""
    with store.read() as db:
        return int(db.value("SELECT count FROM audit_head") or 0)
