"""How the file is opened: by every connection alike."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest

from secureai_appliance.core.errors import StartupError
from secureai_appliance.store import Reader, Store
from tests.support.clock import FakeClock
from tests.support.rows import write_user


def settings(db: Reader) -> dict[str, object]:
    names = ("foreign_keys", "synchronous", "trusted_schema", "temp_store", "cell_size_check", "recursive_triggers")
    return {name: db.value(f"PRAGMA {name}") for name in names}


def test_every_connection_is_durable_strict_and_distrustful(store: Store) -> None:
    expected = {
        "foreign_keys": 1,
        "synchronous": 2,
        "trusted_schema": 0,
        "temp_store": 1,
        "cell_size_check": 1,
        "recursive_triggers": 1,
    }
    with store.transaction() as tx:
        assert settings(tx) == expected
    with store.read() as db:
        assert settings(db) == expected


def test_every_connection_knows_vectors(store: Store) -> None:
    with store.transaction() as tx:
        tx.run("CREATE VIRTUAL TABLE v USING vec0(embedding float[2])")
        tx.run("INSERT INTO v (rowid, embedding) VALUES (1, '[0, 1]'), (2, '[1, 0]')")
    with store.read() as db:
        assert db.value("SELECT rowid FROM v WHERE embedding MATCH '[0.9, 0.1]' ORDER BY distance LIMIT 1") == 2


def test_only_the_owner_can_read_the_files(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    for _ in range(2):
        store = Store.open(path, clock=clock)
        write_user(store, f"user{clock.now()}")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert modes == {"secureai.db": 0o600, "secureai.db-wal": 0o600, "secureai.db-shm": 0o600}
        store.close()
        # somebody was too generous with the file meanwhile
        path.chmod(0o644)
        clock.advance(1)


def test_closing_leaves_one_file(tmp_path: Path, clock: FakeClock) -> None:
    store = Store.open(tmp_path / "secureai.db", clock=clock)
    write_user(store, "ada")
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["secureai.db"]


def test_temporary_files_stay_in_the_data_folder(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "the owner's tmp"
    temporary.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(temporary))
    store = Store.open(tmp_path / "secureai.db", clock=clock)
    with store.transaction() as tx:
        tx.run("CREATE TEMP TABLE large (a BLOB)")
        for _ in itertools.repeat(None, 3000):
            tx.run("INSERT INTO large VALUES (randomblob(8000))")
        opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        tx.run("DROP TABLE large")
    store.close()
    monkeypatch.delenv("SQLITE_TMPDIR")
    assert any(name.startswith(f"{temporary}/") for name in opened)


def test_a_temporary_folder_that_is_missing_is_one_clear_line(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(StartupError) as caught:
        Store.open(tmp_path / "secureai.db", clock=clock)
    assert "\n" not in caught.value.message


def test_integrity_names_what_is_broken(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "secureai.db"
    store = Store.open(path, clock=clock)
    for n in range(50):
        write_user(store, f"user{n}")
    assert store.integrity(quick=True) == []
    assert store.integrity(quick=False) == []
    connection = store._writer._connection
    connection.pragma("foreign_keys", False)
    with store.transaction() as tx:
        tx.run("DELETE FROM users WHERE name = 'user7'")
    assert store.integrity(quick=True) == ["row 8 of api_keys refers to a missing row of users"]
    with store.read() as db:
        leaf = db.value("SELECT rootpage FROM sqlite_schema WHERE name = 'api_keys_by_user'")
    store.close()
    with path.open("r+b") as file:
        file.seek((leaf - 1) * 8192 + 8000)
        file.write(b"\xff" * 190)
    store = Store.open(path, clock=clock)
    assert any("malformed" in problem for problem in store.integrity(quick=False))
    store.close()
