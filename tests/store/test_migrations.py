"""Promises 3 and 4: the schema moves forward in whole steps, and a newer one is left alone."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from secureai_appliance.core.errors import EXIT_NEWER_SCHEMA, StartupError
from secureai_appliance.store import Store, migrations
from secureai_appliance.store.connection import APPLICATION_ID
from tests.support.clock import FakeClock
from tests.support.release_schema import SCHEMAS
from tests.support.rows import names_in, write_user
from tests.support.vfs import FaultyVFS

SECOND = (
    "CREATE TABLE extra (a TEXT) STRICT; INSERT INTO extra SELECT name FROM users; ALTER TABLE users ADD COLUMN b TEXT;"
)


def schema(store: Store) -> list[tuple[object, ...]]:
    with store.read() as db:
        return db.all("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")


def folder_state(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_mode)
        for file in folder.iterdir()
        if file.is_file()
    }


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the program know these migrations besides the real ones."""
    real = migrations.scripts()

    def set_further(*further: str) -> None:
        monkeypatch.setattr(migrations, "scripts", lambda: (*real, *further))

    return set_further


@pytest.mark.parametrize("released", sorted(SCHEMAS.glob("*.sql")), ids=lambda path: path.stem)
def test_every_released_schema_upgrades_to_the_same_schema(tmp_path: Path, store: Store, released: Path) -> None:
    path = tmp_path / "released" / "secureai.db"
    path.parent.mkdir()
    connection = apsw.Connection(str(path))
    for _ in connection.execute(released.read_text("utf-8")):
        pass
    connection.close()
    upgraded = Store.open(path, clock=FakeClock())
    assert not upgraded.created
    assert schema(upgraded) == schema(store)
    assert names_in(upgraded) == {"ada"}
    assert upgraded.integrity(quick=False) == []
    upgraded.close()


def test_models_with_their_names_and_servers_outlive_their_table(tmp_path: Path) -> None:
    """Migration 26 makes the table of models anew, to which others refer."""
    path = tmp_path / "secureai.db"
    connection = apsw.Connection(str(path))
    for _ in connection.execute((SCHEMAS / "0025.sql").read_text("utf-8")):
        pass
    described = "'f', 'aa', 5, 'me', 'MIT', 'llama', 9, 4, 'Q8', 'b1', 'no', 1, 2"
    for number, (model, source) in enumerate([("own", "imported"), ("far", "remote"), ("gone", "imported")], 1):
        connection.execute(
            f"INSERT INTO models VALUES (?, ?, 'chat', {described}, ?, 1, '{{\"slots\": 2}}')", (number, model, source)
        )
    for _ in connection.execute(
        "DELETE FROM models WHERE id = 'gone';"
        "INSERT INTO model_aliases (alias, model_id, created_at) VALUES ('mine', 'own', 1), ('theirs', 'far', 1);"
        "INSERT INTO remote_models VALUES ('far', 'http://x', 'y', X'01', NULL, '[]', 4)"
    ):
        pass
    tables = ("models", "model_aliases", "remote_models", "sqlite_sequence WHERE name LIKE 'models%'")

    def there() -> list[list[tuple[object, ...]]]:
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]

    before = there()
    connection.close()
    Store.open(path, clock=FakeClock()).close()
    connection = apsw.Connection(str(path))
    assert there() == before
    assert list(map(len, before)) == [2, 2, 1, 1]
    assert before[-1] == [("models", 3)]  # the number of one that is gone is never given again
    connection.pragma("foreign_keys", True)
    connection.execute("DELETE FROM models")
    assert list(map(len, there())) == [0, 0, 0, 1]
    connection.close()


def test_a_file_is_born_with_what_can_not_be_changed_later(store: Store) -> None:
    assert store.created
    with store.read() as db:
        assert [
            db.value(f"PRAGMA {name}") for name in ("page_size", "auto_vacuum", "application_id", "journal_mode")
        ] == [
            8192,
            2,
            APPLICATION_ID,
            "wal",
        ]
        ours = db.all(
            "SELECT name, strict FROM pragma_table_list"
            " WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'"
        )
    assert len(ours) > 5
    assert [name for name, strict in ours if not strict] == []


def test_a_file_that_is_opened_again_is_not_born_again(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    first = Store.open(path, clock=clock)
    with first.read() as db:
        named = db.one("SELECT instance_id, created_at FROM instance")
    first.close()
    clock.advance(1000)
    again = Store.open(path, clock=clock)
    assert not again.created
    with again.read() as db:
        assert db.one("SELECT instance_id, created_at FROM instance") == named
    again.close()


def test_a_new_migration_is_applied_to_what_is_there(
    tmp_path: Path, clock: FakeClock, pretend: Callable[..., None]
) -> None:
    path = tmp_path / "secureai.db"
    store = Store.open(path, clock=clock)
    write_user(store, "ada")
    store.close()
    pretend(SECOND)
    for _ in range(2):
        store = Store.open(path, clock=clock)
        with store.read() as db:
            assert db.all("SELECT a FROM extra") == [("ada",)]
            assert db.value("PRAGMA user_version") == len(migrations.scripts())
        store.close()


@pytest.mark.parametrize("broken", ["SELECT no_such_function();", "DELETE FROM users;"], ids=["an error", "orphans"])
def test_a_migration_that_fails_changes_nothing_and_can_be_run_again(
    tmp_path: Path, clock: FakeClock, pretend: Callable[..., None], broken: str
) -> None:
    path = tmp_path / "secureai.db"
    store = Store.open(path, clock=clock)
    write_user(store, "ada")
    before = schema(store)
    version = len(migrations.scripts())
    store.close()
    pretend(SECOND + broken)
    with pytest.raises(StartupError):
        Store.open(path, clock=clock)
    pretend()
    store = Store.open(path, clock=clock)
    assert schema(store) == before
    with store.read() as db:
        assert db.value("PRAGMA user_version") == version
    assert names_in(store) == {"ada"}
    store.close()
    pretend(SECOND)
    Store.open(path, clock=clock).close()


def test_a_migration_is_all_or_nothing_whichever_write_fails(
    tmp_path: Path, clock: FakeClock, pretend: Callable[..., None]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    store = Store.open(old / "secureai.db", clock=clock)
    write_user(store, "ada")
    before = schema(store)
    version = len(migrations.scripts())
    store.close()
    refused = 0
    with FaultyVFS("faulty") as vfs:
        for n in itertools.count(1):
            path = tmp_path / f"n{n}" / "secureai.db"
            shutil.copytree(old, path.parent)
            pretend(SECOND)
            vfs.break_at(n, error=apsw.IOError, lasting=True)
            try:
                Store.open(path, clock=clock, vfs=vfs.name).close()
            except StartupError:
                refused += 1
                connection = apsw.Connection(str(path))
                assert connection.pragma("user_version") in (version, version + 1)
                if connection.pragma("user_version") == version:
                    found = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
                    assert connection.execute(found).fetchall() == before
                connection.close()
            faults = vfs.faults
            vfs.heal()
            store = Store.open(path, clock=clock, vfs=vfs.name)
            with store.read() as db:
                assert db.all("SELECT a FROM extra") == [("ada",)]
            store.close()
            if not faults:
                break
    assert refused > 2


@pytest.mark.parametrize("crashed", [False, True], ids=["closed well", "killed, with its log"])
def test_a_newer_schema_is_refused_and_nothing_is_touched(tmp_path: Path, clock: FakeClock, crashed: bool) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    store = Store.open(newer / "secureai.db", clock=clock)
    write_user(store, "ada")
    store.close()
    connection = apsw.Connection(str(newer / "secureai.db"))
    connection.pragma("user_version", len(migrations.scripts()) + 1)
    folder = tmp_path / "copy"
    folder.mkdir()
    if not crashed:
        connection.close()
    for file in newer.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, folder)
    before = folder_state(folder)
    assert ("secureai.db-wal" in before) == crashed
    with pytest.raises(StartupError) as caught:
        Store.open(folder / "secureai.db", clock=clock)
    connection.close()
    assert caught.value.exit_code == EXIT_NEWER_SCHEMA
    assert "\n" not in caught.value.message
    assert folder_state(folder) == before


def test_a_newer_schema_is_refused_while_the_newer_version_runs(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=clock)
    write_user(store, "ada")
    store._writer._connection.pragma("user_version", len(migrations.scripts()) + 1)
    before = {name: state[0] for name, state in folder_state(tmp_path).items() if not name.endswith("-shm")}
    with pytest.raises(StartupError) as caught:
        Store.open(tmp_path / "secureai.db", clock=clock)
    assert caught.value.exit_code == EXIT_NEWER_SCHEMA
    assert {name: state[0] for name, state in folder_state(tmp_path).items() if not name.endswith("-shm")} == before
    write_user(store, "grace")
    store.close()


def test_a_database_of_another_program_is_refused_and_not_touched(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = folder_state(tmp_path)
    with pytest.raises(StartupError, match="another program"):
        Store.open(path, clock=clock)
    assert folder_state(tmp_path) == before


def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    path.write_text("not a database at all\n" * 1000)
    before = folder_state(tmp_path)
    with pytest.raises(StartupError, match="not a database"):
        Store.open(path, clock=clock)
    assert folder_state(tmp_path) == before


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_log_without_its_database_is_refused(tmp_path: Path, clock: FakeClock, suffix: str) -> None:
    """Its pages would end up in the new file."""
    (tmp_path / f"secureai.db{suffix}").write_bytes(b"somebody's last hour")
    before = folder_state(tmp_path)
    with pytest.raises(StartupError, match="is missing"):
        Store.open(tmp_path / "secureai.db", clock=clock)
    assert folder_state(tmp_path) == before


def test_an_empty_file_is_as_good_as_none(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "secureai.db").touch()
    store = Store.open(tmp_path / "secureai.db", clock=clock)
    assert store.created
    store.close()


def test_a_folder_that_is_missing_is_one_clear_line(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(StartupError) as caught:
        Store.open(tmp_path / "missing" / "secureai.db", clock=clock)
    assert "\n" not in caught.value.message


def test_the_numbers_of_migrations_have_no_gap() -> None:
    assert len(migrations.scripts()) == len(sorted(SCHEMAS.parents[2].glob("secureai_appliance/store/schema/*.sql")))
