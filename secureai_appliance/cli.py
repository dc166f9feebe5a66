"""The `secureai` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import click
from rich.console import Console
from rich.table import Table

from secureai_appliance import __version__, chat_command, knowledge_commands, user_commands
from secureai_appliance.accounts import keys, users
from secureai_appliance.command_parts import boot_options, open_file, show
from secureai_appliance.core.clock import SystemClock, rfc3339
from secureai_appliance.core.errors import EXIT_USAGE, Failure, StartupError
from secureai_appliance.governance.audit import on_command_line
from secureai_appliance.governance.configs import Configs
from secureai_appliance.settings import Settings
from secureai_appliance.store import Store

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Group(click.Group):
    """Turns what went wrong into one line and an exit code; only a defect shows a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StartupError as error:
            click.echo(f"secureai: {error.message}", err=True)
            sys.exit(error.exit_code)
        except Failure as failure:
            click.echo(f"secureai: {failure.message}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="secureai", message="%(prog)s %(version)s")
def cli() -> None:
    """SecureAI Appliance: a complete AI service for a server without internet."""


@cli.command()
@boot_options()
def serve(chosen: Settings) -> None:
    """Start the service."""
    from secureai_appliance.serving import serve as run

    run(chosen)


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(f"secureai {__version__}")


@cli.command()
@boot_options()
def doctor(chosen: Settings) -> None:
    """Look at everything that can go wrong and say what to do."""
    from secureai_appliance.doctor import examine

    findings = examine(chosen, SystemClock())
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark, colour = ("ok  ", "green") if finding.ok else ("FAIL", "red")
        console.print(f"[{colour}]{mark}[/{colour}] [bold]{finding.subject}[/bold]: ", end="")
        console.print(finding.message, markup=False)
    if not all(finding.ok for finding in findings):
        sys.exit(1)


@cli.group()
def user() -> None:
    """Users."""


for _command in user_commands.COMMANDS:
    user.add_command(_command)
cli.add_command(chat_command.chat)
cli.add_command(knowledge_commands.knowledge)


@cli.group()
def key() -> None:
    """API keys."""


@key.command("create")
@boot_options("data", "key_file")
@click.option("--user", "email", required=True, metavar="EMAIL", help="Whose key.")
@click.option("--name", required=True, help="What it is for.")
@click.option("--scopes", default=None, metavar="A,B", help="Permissions to cut it down to, such as models:read.")
@click.option("--expires", default=None, metavar="D", help="End: a date (2027-01-31), or from now on (90d, 12h).")
def key_create(chosen: Settings, email: str, name: str, scopes: str | None, expires: str | None) -> None:
    """Make an API key; prints only the key."""
    body = keys.KeyCreate(
        name=name,
        scopes=None if scopes is None else [scope.strip() for scope in scopes.split(",") if scope.strip()],
        expires_at=None if expires is None else _moment(expires),
    )
    with open_file(chosen) as store, store.transaction() as tx:
        owner = users.by_email(tx, email)
        caller = users.caller_of(tx, owner.id, command="key create")
        created = keys.create(tx, caller, body)
    click.echo(created.key)


@key.command("revoke")
@boot_options("data", "key_file")
@click.argument("key_id", metavar="KEY_ID")
def key_revoke(chosen: Settings, key_id: str) -> None:
    """End an API key, named by its id (key-…) or by the key itself; the next request with it is refused."""
    with open_file(chosen) as store, store.transaction() as tx:
        named = key_id if key_id.startswith("key-") else keys.id_of(tx, key_id)
        keys.revoke_any(tx, named, on_command_line("key revoke"))


@key.command("list")
@boot_options("data", "key_file")
def key_list(chosen: Settings) -> None:
    """List the keys that are not revoked."""
    table = Table("id", "user", "name", "key", "scopes", "expires", "last used")
    with open_file(chosen) as store, store.read() as db:
        for email, listed in keys.everybodys(db):
            scopes = "all" if listed.scopes is None else ",".join(listed.scopes)
            shown = f"{listed.prefix}…"
            table.add_row(
                listed.id,
                email,
                listed.name,
                shown,
                scopes,
                listed.expires_at or "never",
                listed.last_used_at or "never",
            )
    show(table)


@cli.group()
def audit() -> None:
    """The audit log."""


@audit.command("verify")
@boot_options("data", "key_file")
def audit_verify(chosen: Settings) -> None:
    """Check that the audit log is what was written; says where it is not, and exits with 1 then."""
    from secureai_appliance.governance import chain

    with open_file(chosen) as store:
        found = chain.verify(store, store.chain_key)
    for place in found.breaks:
        click.echo(f"rows {place.first} to {place.last}: {place.kind}")
    words = "whole" if found.ok else "BROKEN"
    click.echo(
        f"{words}: {found.rows} rows checked, {found.dropped} taken by retention; row {found.count} is {found.head}"
    )
    if not found.ok:
        sys.exit(1)


@audit.command("export")
@boot_options("data", "key_file")
@click.option("--format", "kind", default="jsonl", show_default=True, type=click.Choice(["jsonl", "csv"]))
def audit_export(chosen: Settings, kind: Literal["jsonl", "csv"]) -> None:
    """Print the audit log, oldest row first."""
    from secureai_appliance.governance import audit as log
    from secureai_appliance.governance import audit_export

    with open_file(chosen) as store:
        with store.transaction() as tx:
            log.record(tx, on_command_line("audit export"), "audit.exported", "audit_log", details={"format": kind})
        for piece in audit_export.pieces(store, log.AuditQuery(), kind):
            sys.stdout.buffer.write(piece)


@cli.group()
def model() -> None:
    """Models."""


@model.command("list")
@boot_options("data", "key_file")
def model_list(chosen: Settings) -> None:
    """List the models in the data folder."""
    from secureai_appliance.models import catalogue

    table = Table("id", "kind", "parameters", "quantization", "context", "MB", "state")
    with open_file(chosen) as store, store.read() as db:
        for row in catalogue.all_models(db):
            here = row.failure or ("checked" if row.probed_build else "not checked yet")
            state = here if row.remote is None else f"remote: {row.remote.base_url}"
            table.add_row(
                row.id,
                row.kind,
                f"{row.parameters / 1e6:.0f} M",
                row.quantization,
                str(row.context_length),
                f"{row.size_bytes / 1e6:.0f}",
                state,
            )
    show(table)


@cli.group()
def config() -> None:
    """Settings that count at once, also for a running server."""


@config.command("list")
@boot_options("data", "key_file")
def config_list(chosen: Settings) -> None:
    """List all settings."""
    table = Table("setting", "value", "changed", "what it is")
    with _configs(chosen) as (store, configs), store.read() as db:
        for listed in configs.list_(db):
            table.add_row(listed.key, json.dumps(listed.value), listed.updated_at or "", listed.description)
    show(table)


@config.command("get")
@boot_options("data", "key_file")
@click.argument("name", metavar="SETTING")
def config_get(chosen: Settings, name: str) -> None:
    """Print a setting's value as JSON."""
    with _configs(chosen) as (store, configs), store.read() as db:
        click.echo(json.dumps(configs.get(db, name).value))


@config.command("set")
@boot_options("data", "key_file")
@click.argument("name", metavar="SETTING")
@click.argument("value")
def config_set(chosen: Settings, name: str, value: str) -> None:
    """Change a setting; VALUE is JSON (true, 60, {"free": …}), or a text as it is."""
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    with _configs(chosen) as (store, configs), store.transaction() as tx:
        configs.put(tx, on_command_line("config set"), name, parsed)


@config.command("reset")
@boot_options("data", "key_file")
@click.argument("name", metavar="SETTING")
def config_reset(chosen: Settings, name: str) -> None:
    """Put a setting back to its default."""
    with _configs(chosen) as (store, configs), store.transaction() as tx:
        configs.reset(tx, on_command_line("config reset"), name)


@contextmanager
def _configs(chosen: Settings) -> Iterator[tuple[Store, Configs]]:
    """The file with its settings."""
    from secureai_appliance.opening import open_store

    store, sealer = open_store(chosen, SystemClock(), create=False)
    try:
        yield store, Configs(store, sealer)
    finally:
        store.close()


_KEY = click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")


@model.command("import")
@boot_options("data", "key_file", "host", "port")
@_KEY
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default=None, help="The model's id; without it, made from the file's name.")
@click.option("--sha256", default=None, metavar="H", help="What the file's checksum must be.")
@click.option("--url", default=None, help="Address of a server on another machine: the file is sent there.")
def model_import(
    chosen: Settings, *, key: str | None, file: Path, name: str | None, sha256: str | None, url: str | None
) -> None:
    """Import a GGUF file; prints the new model's id. The server, if it runs, is asked over HTTP."""
    from secureai_appliance import model_commands, model_upload

    if url is not None:
        click.echo(model_upload.upload_model(url, key, file, name, sha256))
        return
    click.echo(model_commands.import_model(chosen, key, file, name, sha256))


@model.command("remove")
@boot_options("data", "key_file", "host", "port")
@_KEY
@click.argument("name")
def model_remove(chosen: Settings, key: str | None, name: str) -> None:
    """Remove an imported model and its file."""
    from secureai_appliance import model_commands

    model_commands.remove_model(chosen, key, name)


@model.command("load")
@boot_options("data", "key_file", "host", "port")
@_KEY
@click.argument("name")
def model_load(chosen: Settings, key: str | None, name: str) -> None:
    """Load a model of the running server; prints its status."""
    from secureai_appliance import model_commands

    click.echo(model_commands.ask_server(chosen, key, name, "load"))


@model.command("unload")
@boot_options("data", "key_file", "host", "port")
@_KEY
@click.argument("name")
def model_unload(chosen: Settings, key: str | None, name: str) -> None:
    """Take a model of the running server out of memory; prints its status."""
    from secureai_appliance import model_commands

    click.echo(model_commands.ask_server(chosen, key, name, "unload"))


def _moment(text: str) -> str:
    """`90d` or a date as RFC 3339. Raises StartupError (exit code 2)."""
    unit = _UNITS.get(text[-1:])
    if unit is None:
        return text  # a date; `keys.create` says what is wrong with it
    try:
        seconds = timedelta(**{unit: int(text[:-1])}).total_seconds()
        return rfc3339(SystemClock().now() + seconds)
    except (ValueError, OverflowError) as cause:
        raise StartupError(f"--expires takes a date or something like 90d, not '{text}'.", EXIT_USAGE) from cause
