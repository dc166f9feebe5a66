"""What the program itself and the server's command line leave in the audit log."""

from __future__ import annotations

import json
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner

from secureai_appliance.cli import cli
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.sealing import Sealer, create_master_key
from secureai_appliance.governance import chain
from secureai_appliance.governance.audit import AuditLog
from secureai_appliance.opening import open_store
from secureai_appliance.settings import Settings
from tests.support.audit import rows

SCHEMAS = Path(__file__).parent / "data" / "schemas"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a file and its key, and no server."""
    settings = Settings(data=str(tmp_path))
    settings.data_folder.create()
    open_store(settings, SystemClock(), create=True)[0].close()
    return tmp_path


def logged(folder: Path) -> list[AuditLog]:
    store, sealer = open_store(Settings(data=str(folder)), SystemClock(), create=False)
    try:
        assert chain.verify(store, sealer.derive("audit")).ok
        with store.read() as db:
            return rows(db)
    finally:
        store.close()


def command(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, [*arguments, "--data", str(folder)])
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_commands_are_logged_with_their_name_and_the_system_user(folder: Path) -> None:
    user_id = command(folder, "user", "create", "--email", "a@b.test", "--name", "A", "--role", "user")
    key = command(folder, "key", "create", "--user", "a@b.test", "--name", "k")
    link = command(folder, "user", "link", "--email", "a@b.test")
    command(folder, "key", "revoke", key)
    found = logged(folder)
    assert [(row.action, row.details["command"]) for row in found] == [
        ("user.created", "user create"),
        ("key.created", "key create"),
        ("sign_in_link.created", "user link"),
        ("key.revoked", "key revoke"),
    ]
    assert [row.target.id for row in found if row.target.type == "user"] == [user_id, user_id]
    for row in found:
        assert (row.actor.user_id, row.actor.key_id, row.actor.ip) == (None, None, None)
        assert row.details["system_user"]
        assert key not in str(row)
        assert link.rpartition("/")[2] not in str(row)


def test_a_command_that_fails_leaves_no_row(folder: Path) -> None:
    done = CliRunner().invoke(cli, ["key", "revoke", "key-none", "--data", str(folder)])
    assert done.exit_code == 1
    assert logged(folder) == []


def test_a_file_from_before_the_log_begins_one_and_says_so(tmp_path: Path) -> None:
    settings = Settings(data=str(tmp_path))
    settings.data_folder.create()
    sealer = Sealer(create_master_key(settings.master_key))
    old = apsw.Connection(str(settings.data_folder.database))
    for _ in old.execute((SCHEMAS / "0002.sql").read_text("utf-8")):
        pass
    check = sealer.seal(b"this key belongs to this file", "instance.key_check")
    old.execute("UPDATE instance SET key_check = ?", (check,))
    old.close()
    first, *others = logged(tmp_path)
    assert (first.action, first.details["from"], others) == ("system.migrated", 2, [])
    assert logged(tmp_path) == [first]


def test_a_log_that_was_taken_away_is_no_new_log(folder: Path) -> None:
    command(folder, "user", "create", "--email", "a@b.test", "--name", "A", "--role", "user")
    store, sealer = open_store(Settings(data=str(folder)), SystemClock(), create=False)
    with store.transaction() as tx:
        tx.run("DELETE FROM audit_log")
        tx.run("UPDATE audit_head SET count = 0, hash = zeroblob(32), sealed = NULL")
        tx.run("UPDATE instance SET key_check = NULL")
    store.close()
    store, sealer = open_store(Settings(data=str(folder)), SystemClock(), create=False)
    assert not chain.verify(store, sealer.derive("audit")).ok
    store.close()


def test_the_log_is_verified_and_exported_by_command(folder: Path) -> None:
    command(folder, "user", "create", "--email", "a@b.test", "--name", "A", "--role", "user")
    exported = command(folder, "audit", "export").splitlines()
    assert [json.loads(line)["action"] for line in exported] == ["user.created", "audit.exported"]
    assert command(folder, "audit", "export", "--format", "csv").startswith("number,id,timestamp,")
    assert command(folder, "audit", "verify").startswith("whole: 3 rows")
    store, _ = open_store(Settings(data=str(folder)), SystemClock(), create=False)
    with store.transaction() as tx:
        tx.run("UPDATE audit_log SET outcome = 'failure' WHERE row_id = 1")
    store.close()
    done = CliRunner().invoke(cli, ["audit", "verify", "--data", str(folder)])
    assert done.exit_code == 1
    assert "rows 1 to 1: altered" in done.output
