from __future__ import annotations

from pathlib import Path

import pytest

from secureai_appliance import settings
from secureai_appliance.core.errors import EXIT_USAGE, StartupError

DOCS = Path(__file__).parents[1] / "docs" / "operations.md"


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("port = 1\nslots = 2\nmax_waiting = 3\n")
    loaded = settings.load({"port": 100}, {"SECUREAI_PORT": "10", "SECUREAI_SLOTS": "20"}, str(file))
    assert (loaded.port, loaded.slots, loaded.max_waiting, loaded.host) == (100, 20, 3, "127.0.0.1")


def test_a_file_in_the_data_folder_is_found_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "secureai.toml").write_text("port = 9\n")
    assert settings.load({"data": str(tmp_path)}, {}).port == 9
    assert settings.load({}, {"SECUREAI_DATA": str(tmp_path)}).port == 9


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("port = 9\n")
    assert settings.load({}, {"SECUREAI_CONFIG": str(tmp_path / "x.toml")}).port == 9


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("prot = 1", "'prot', which is no option"),
        ('port = "80"', "'port' in .* must be of type int"),
        ("port = true", "'port' in .* must be of type int"),
        ("port = 70000", "port in the configuration file must be at most 65535"),
        ("port =", "is not TOML"),
        ("trusted_proxies = [1]", "must be a list of strings"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "secureai.toml").write_text(content)
    with pytest.raises(StartupError, match=says) as raised:
        settings.load({"data": str(tmp_path)}, {})
    assert raised.value.exit_code == EXIT_USAGE


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="can't be read"):
        settings.load({}, {}, str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SECUREAI_PORT", "eighty", "SECUREAI_PORT must be a whole number"),
        ("SECUREAI_PORT", "-1", "SECUREAI_PORT must be at least 0"),
        ("SECUREAI_METRICS_PUBLIC", "maybe", "SECUREAI_METRICS_PUBLIC must be true or false"),
        ("SECUREAI_LOG_LEVEL", "loud", "SECUREAI_LOG_LEVEL must be one of"),
        ("SECUREAI_PUBLIC_URL", "ai.example.org", "SECUREAI_PUBLIC_URL must be an address such as https"),
        ("SECUREAI_PUBLIC_URL", "http://[::1", "SECUREAI_PUBLIC_URL must be an address such as https"),
        ("SECUREAI_TRUSTED_PROXIES", "10.0.0.1,proxy", "must be addresses or networks .*, not 'proxy'"),
    ],
)
def test_a_mistake_in_a_variable_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(StartupError, match=says):
        settings.load({}, {name: value})


def test_variables_take_lists_and_booleans() -> None:
    loaded = settings.load({}, {"SECUREAI_TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2", "SECUREAI_METRICS_PUBLIC": "yes"})
    assert loaded.trusted_proxies == ("10.0.0.1", "10.0.0.2")
    assert loaded.metrics_public is True


def test_every_option_is_documented_as_the_table_has_it() -> None:
    assert settings.table_as_markdown() in DOCS.read_text("utf-8")
