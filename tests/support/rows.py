"""Rows to write and to look for: a user and a key of theirs, in one transaction."""

from __future__ import annotations

from pathlib import Path

from secureai_appliance.store import Reader, Row, Store, Transaction
from tests.support.clock import FakeClock


def add_user(tx: Transaction, name: str) -> None:
    """Two rows that belong together."""
    now = tx.now()
    tx.run(
        "INSERT INTO users (id, email, name, role, tier, created_at, updated_at)"
        " VALUES (?, ?, ?, 'user', 'free', ?, ?)",
        *(f"usr-{name}", f"{name}@example.test", name, now, now),
    )
    tx.run(
        "INSERT INTO api_keys (id, user_id, name, secret_hash, prefix, created_at, updated_at)"
        " VALUES (?, ?, 'key', ?, 'sk-', ?, ?)",
        *(f"key-{name}", f"usr-{name}", name.encode(), now, now),
    )


def write_user(store: Store, name: str) -> None:
    with store.transaction() as tx:
        add_user(tx, name)


def write_blob(tx: Transaction) -> None:
    tx.run(
        "INSERT INTO idempotency (caller, key, request_hash, state, body, created_at)"
        " VALUES ('c', 'k', x'00', 'done', zeroblob(100000), 0)"
    )


def names(db: Reader) -> set[str]:
    return {row[0] for row in db.all("SELECT name FROM users")}


def names_in(store: Store) -> set[str]:
    with store.read() as db:
        return names(db)


def halves(db: Reader) -> list[Row]:
    """Transactions of which only one of the two rows is there."""
    return db.all(
        "SELECT u.id, k.id FROM users u FULL JOIN api_keys k ON k.user_id = u.id WHERE u.id IS NULL OR k.id IS NULL"
    )


def losses(path: Path, answered: set[str]) -> set[str]:
    """What of `answered` is missing in the file; it must be sound and hold no half of a transaction besides."""
    store = Store.open(path, clock=FakeClock(), synchronous="OFF")
    try:
        assert store.integrity(quick=False) == []
        with store.read() as db:
            assert halves(db) == []
            return answered - names(db)
    finally:
        store.close()
