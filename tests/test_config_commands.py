"""`secureai config`: works on the file, beside a running server or without one."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from secureai_appliance.cli import cli
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.opening import open_store
from secureai_appliance.settings import Settings

KEY = "limits.failed_authentications_per_minute"


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["config", *arguments, "--data", str(folder)], env={})


def test_a_setting_is_listed_changed_and_put_back(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data").create()
    open_store(Settings(data=str(tmp_path / "data")), SystemClock(), create=True)[0].close()
    assert KEY in invoke(tmp_path / "data", "list").output
    assert invoke(tmp_path / "data", "set", KEY, "500").exit_code == 0
    assert invoke(tmp_path / "data", "get", KEY).output == "500\n"
    wrong = invoke(tmp_path / "data", "set", KEY, "many")
    assert (wrong.exit_code, KEY in wrong.output) == (1, True)
    assert invoke(tmp_path / "data", "reset", KEY).exit_code == 0
    assert invoke(tmp_path / "data", "get", KEY).output == "60\n"
