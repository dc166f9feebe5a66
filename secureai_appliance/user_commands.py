"""`secureai user list|disable|enable|role|tier|delete`: on the file, beside a running server or without one."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import operator
from secureai_appliance.accounts.permissions import ROLES, TIERS
from secureai_appliance.accounts.user_fields import UserPatch, UserQuery
from secureai_appliance.command_parts import boot_options, open_file, show
from secureai_appliance.governance.ownership import Ownership
from secureai_appliance.settings import Settings
from secureai_appliance.store import ListQuery

_PAGE = 100


@click.command("list")
@boot_options("data", "key_file")
def list_(chosen: Settings) -> None:
    """List the users."""
    table = Table("id", "email", "name", "role", "tier", "groups", "state")
    with open_file(chosen) as store, store.read() as db:
        query: ListQuery | None = UserQuery(page_size=_PAGE, sort="email")
        while isinstance(query, UserQuery):
            page = users.list_(db, query)
            for user in page.data:
                state = "disabled" if user.disabled else "active"
                table.add_row(user.id, user.email, user.name, user.role, user.tier, str(len(user.groups)), state)
            query = None if page.next is None else UserQuery(page_size=_PAGE, sort="email", cursor=page.next)
    show(table)


@click.command()
@boot_options("data", "key_file")
@click.argument("email")
def disable(chosen: Settings, email: str) -> None:
    """Let a user in no more: sessions, links and tokens end, keys are refused; enable undoes only the last."""
    _change(chosen, "user disable", email, disabled=True)


@click.command()
@boot_options("data", "key_file")
@click.argument("email")
def enable(chosen: Settings, email: str) -> None:
    """Let a disabled user in again."""
    _change(chosen, "user enable", email, disabled=False)


@click.command()
@boot_options("data", "key_file")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
def role(chosen: Settings, email: str, role: str) -> None:
    """Give a user another role; it counts from their next request on."""
    _change(chosen, "user role", email, role=role)


@click.command()
@boot_options("data", "key_file")
@click.argument("email")
@click.argument("tier", type=click.Choice(TIERS))
def tier(chosen: Settings, email: str, tier: str) -> None:
    """Give a user another tier of limits."""
    _change(chosen, "user tier", email, tier=tier)


@click.command()
@boot_options("data", "key_file")
@click.argument("email")
@click.option("--transfer-to", metavar="EMAIL", default=None, help="Who gets what the user has made.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(chosen: Settings, email: str, transfer_to: str | None, yes: bool) -> None:
    """Delete a user, and what they have made unless somebody gets it."""
    if not yes:
        rest = f"what they have made goes to {transfer_to}" if transfer_to else "with everything that they have made"
        click.confirm(f"Delete {email}, {rest}?", abort=True)
    ownership = _ownership()
    with open_file(chosen) as store, store.transaction() as tx:
        heir = None if transfer_to is None else users.by_email(tx, transfer_to).id
        users.delete(tx, operator("user delete"), ownership, users.by_email(tx, email).id, heir)


COMMANDS: tuple[click.Command, ...] = (list_, disable, enable, role, tier, delete)


def _change(chosen: Settings, command: str, email: str, **fields: Any) -> None:
    ownership = _ownership()
    with open_file(chosen) as store, store.transaction() as tx:
        users.patch(tx, operator(command), ownership, users.by_email(tx, email).id, UserPatch(**fields))


def _ownership() -> Ownership:
    from secureai_appliance.appliance import OWNERSHIP

    return OWNERSHIP
