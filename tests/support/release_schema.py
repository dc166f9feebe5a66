"""Keeps the schema of a release for the tests: `python -m tests.support.release_schema`, before the release is made.

Writes tests/data/schemas/NNNN.sql: the file as that version makes it, with a row in the tables that have an owner.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import apsw

from secureai_appliance.store import Store
from secureai_appliance.store.connection import APPLICATION_ID, PAGE_SIZE
from secureai_appliance.store.migrations import scripts
from tests.support.clock import FakeClock
from tests.support.rows import write_user

SCHEMAS = Path(__file__).parents[1] / "data" / "schemas"


def dump(path: Path) -> str:
    connection = apsw.Connection(str(path))
    lines = [
        f"PRAGMA page_size = {PAGE_SIZE}",
        "PRAGMA auto_vacuum = 2",
        "PRAGMA journal_mode = wal",
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {connection.pragma('user_version')}",
    ]
    # the tables behind a virtual one come with it
    made = "SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' AND name NOT IN"
    made += " (SELECT name FROM pragma_table_list WHERE type = 'shadow')"
    lines += [row[0] for row in connection.execute(made)]
    for table in ("instance", "users", "api_keys", "audit_head"):
        rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        lines += [f"INSERT INTO {table} VALUES ({', '.join(map(apsw.format_sql_value, row))})" for row in rows]
    connection.close()
    return "".join(f"{line};\n" for line in lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "secureai.db"
        store = Store.open(path, clock=FakeClock())
        write_user(store, "ada")
        store.close()
        (SCHEMAS / f"{len(scripts()):04d}.sql").write_text(dump(path), "utf-8")


if __name__ == "__main__":
    main()
