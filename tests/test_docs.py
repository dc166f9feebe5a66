"""What the documents say holds: errors, scopes, exit codes, commands, rooms."""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec
import pytest

from secureai_appliance import __version__
from secureai_appliance.accounts.permissions import PERMISSIONS, ROLE_PERMISSIONS
from secureai_appliance.cli import cli
from secureai_appliance.conversations.messages import DEFAULTS
from secureai_appliance.core import errors
from secureai_appliance.governance.configs import table_as_markdown as config_table_as_markdown
from secureai_appliance.governance.events import EVENTS
from secureai_appliance.governance.tiers import Tiers
from secureai_appliance.web.route import Access
from secureai_appliance.web.routes import route_table

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_every_type_of_error_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", read("docs/api.md"), re.MULTILINE)
    assert rows == [(str(kind.status), kind.type) for kind in errors.every_failure()]


def test_every_scope_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z]+:[a-z]+)` \|", read("docs/api.md"), re.MULTILINE)
    assert sorted(rows) == sorted(PERMISSIONS)


def test_every_exit_code_is_documented() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d) \| ", read("docs/operations.md"), re.MULTILINE)}
    assert rows == {0, 1} | {value for name, value in vars(errors).items() if name.startswith("EXIT_")}


def test_the_documented_sampling_defaults_are_the_real_ones() -> None:
    real = f"temperature {DEFAULTS.temperature}, top_p {DEFAULTS.top_p}, top_k {DEFAULTS.top_k}, min_p {DEFAULTS.min_p}"
    for name in ("docs/api.md", "docs/architecture.md"):
        assert real in " ".join(read(name).split())


def test_every_room_is_described() -> None:
    text = read("docs/architecture.md")
    for path in (ROOT / "secureai_appliance").iterdir():
        if path.name.startswith(("__init__", "__pycache__")):
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert f"\n  {name} " in text, name


@pytest.mark.parametrize("name", ["README.md", *[f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")]])
def test_every_link_leads_to_something(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", read(name)):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), target


def test_the_documented_settings_are_the_real_ones() -> None:
    assert config_table_as_markdown() in read("docs/operations.md")


def test_the_documented_tiers_are_the_real_ones() -> None:
    rows = re.findall(
        r"^\| (free|standard|professional|enterprise) \| (.*) \|$", read("docs/operations.md"), re.MULTILINE
    )
    documented = {tier: [int(cell.replace(",", "")) for cell in cells.split(" | ")] for tier, cells in rows}
    defaults = msgspec.to_builtins(Tiers())
    assert documented == {tier: [n for n in bounds.values() if n is not None] for tier, bounds in defaults.items()}


def test_every_command_has_help() -> None:
    def walk(command: click.Command) -> None:
        assert command.help, command.name
        for inner in getattr(command, "commands", {}).values():
            walk(inner)

    walk(cli)


def test_the_readme_names_every_command() -> None:
    text = read("README.md")
    for name in cli.commands:
        assert re.search(rf"`(secureai )?{name}[ `]", text), name


def test_every_permission_of_a_route_exists_and_every_permission_is_used() -> None:
    used = {route.access for route in route_table() if not isinstance(route.access, Access)}
    assert used <= set(PERMISSIONS)
    # a permission may wait for its routes, but not when others of its resource are there
    served = {name.partition(":")[0] for name in used}
    assert not [name for name in set(PERMISSIONS) - used if name.partition(":")[0] in served]
    for role, held in ROLE_PERMISSIONS.items():
        assert held <= set(PERMISSIONS), role


def test_the_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_every_event_is_documented_and_no_other() -> None:
    assert re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", read("docs/api.md"), re.MULTILINE) == list(EVENTS)
