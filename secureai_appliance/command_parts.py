"""What commands share: options of the table, the file, tables in the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from secureai_appliance import settings
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.settings import Option, Settings, Value
from secureai_appliance.store import Store


def boot_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of the table to a command (all of them without `names`), which gets them as one Settings."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(config: str | None, **given: Any) -> None:
            table = {option.name for option in settings.options()}
            chosen: dict[str, Value] = {name: given.pop(name) for name in list(given) if name in table}
            command(settings.load(chosen, os.environ, config), **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        # options that were put on the command itself have to follow the wrapper
        run.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
        click.option(
            "--config", metavar="FILE", help="TOML file of options. Default: secureai.toml in the data folder."
        )(run)
        for option in reversed(settings.options()):
            if not names or option.name in names:
                _click_option(option)(run)
        return run

    return decorate


def _click_option(option: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    shown = f"{option.help} [{option.variable}]"
    if option.kind is bool:
        return click.option(f"{option.flag}/--no-{option.flag[2:]}", option.name, default=None, help=shown)
    if option.kind is tuple:
        return click.option(option.flag, option.name, default=None, help=shown, metavar="A,B", callback=_split)
    kind: Any = click.Choice(option.choices) if option.choices else int if option.kind is int else str
    return click.option(option.flag, option.name, type=kind, default=None, help=shown)


def _split(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(",") if part.strip())


@contextmanager
def open_file(chosen: Settings) -> Iterator[Store]:
    """The file, for a command that needs nothing else; the server may be running beside it."""
    from secureai_appliance.opening import open_store

    store, _ = open_store(chosen, SystemClock(), create=False)
    try:
        yield store
    finally:
        store.close()


def show(table: Table) -> None:
    """The table, as wide as it needs to be where no terminal limits it (a pipe, a file)."""
    table.columns[0].no_wrap = True
    Console(width=None if sys.stdout.isatty() else 200).print(table)
