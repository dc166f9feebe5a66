"""`secureai user …`: works on the file, beside a running server or without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.cli import cli
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.errors import AuthenticationError
from secureai_appliance.opening import open_store
from secureai_appliance.settings import Settings
from secureai_appliance.store import Store
from tests.support import audit


@pytest.fixture
def file(tmp_path: Path) -> Store:
    """A file with an administrator and a user, open as a running server has it."""
    settings = Settings(data=str(tmp_path / "data"))
    settings.data_folder.create()
    store, _ = open_store(settings, SystemClock(), create=True)
    with store.transaction() as tx:
        users.create(tx, email="root@example.org", name="Root", role="admin")
        users.create(tx, email="ada@example.org", name="Ada", role="user")
    return store


def invoke(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["user", *arguments, "--data", str(store.path.parent)], env={})


def test_a_user_is_changed_at_once_and_the_log_says_by_which_command(file: Store) -> None:
    with file.transaction() as tx:
        secret = keys.create(tx, users.caller_of(tx, users.by_email(tx, "ada@example.org").id), KeyCreate(name="k")).key
    before = audit.newest(file)
    for arguments in (["role", "ada@example.org", "auditor"], ["tier", "ada@example.org", "free"]):
        assert invoke(file, *arguments).exit_code == 0
    with file.read() as db:
        caller = keys.authenticate(db, secret, 0)
    assert (caller.role, caller.tier) == ("auditor", "free")
    assert invoke(file, "disable", "ada@example.org").exit_code == 0
    with file.read() as db, pytest.raises(AuthenticationError, match="disabled"):
        keys.authenticate(db, secret, 0)
    assert "disabled" in invoke(file, "list").output
    assert invoke(file, "enable", "ada@example.org").exit_code == 0
    with file.read() as db:
        assert keys.authenticate(db, secret, 0)
        said = [(row.action, row.details["command"]) for row in audit.rows(db, before)]
    assert said == [
        ("user.role_changed", "user role"),
        ("user.updated", "user tier"),
        ("user.disabled", "user disable"),
        ("user.enabled", "user enable"),
    ]


def test_the_last_administrator_can_not_be_taken_away_by_command(file: Store) -> None:
    for arguments in (["role", "root@example.org", "user"], ["disable", "root@example.org"]):
        refused = invoke(file, *arguments)
        assert (refused.exit_code, "last administrator" in refused.output) == (1, True)
    assert invoke(file, "delete", "root@example.org", "--yes").exit_code == 1


def test_a_user_is_deleted_after_a_question(file: Store) -> None:
    runner = CliRunner()
    arguments = ["user", "delete", "ada@example.org", "--data", str(file.path.parent)]
    assert runner.invoke(cli, arguments, input="n\n", env={}).exit_code == 1
    assert "ada@example.org" in invoke(file, "list").output
    assert invoke(file, "delete", "ada@example.org", "--transfer-to", "nobody@example.org", "--yes").exit_code == 1
    assert invoke(file, "delete", "ada@example.org", "--transfer-to", "root@example.org", "--yes").exit_code == 0
    assert "ada@example.org" not in invoke(file, "list").output
    assert invoke(file, "disable", "ada@example.org").exit_code == 1
