"""`secureai user …`: on the file, beside a running server or without one."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.table import Table

from secureai_appliance.accounts import passwords, second_factors, sessions, users
from secureai_appliance.accounts.callers import operator
from secureai_appliance.accounts.permissions import ROLES, TIERS
from secureai_appliance.accounts.user_fields import UserPatch, UserQuery
from secureai_appliance.command_parts import boot_options, open_file, show
from secureai_appliance.governance.audit import on_command_line
from secureai_appliance.governance.ownership import Ownership
from secureai_appliance.settings import Settings
from secureai_appliance.store import ListQuery, ServeLock

_PAGE = 100


@click.command()
@boot_options("data", "key_file")
@click.option("--email", required=True, help="How the user is known.")
@click.option("--name", required=True, help="How the user is called.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What the user may do.")
@click.option("--tier", default="standard", show_default=True, type=click.Choice(TIERS), help="How much at once.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create(chosen: Settings, *, email: str, name: str, role: str, tier: str, password_stdin: bool) -> None:
    """Add a user; prints the new user's id."""
    # hashed before the transaction: it takes a while on purpose
    hashed = _new_password(email, name) if password_stdin else None
    actor = on_command_line("user create")
    with open_file(chosen) as store, store.transaction() as tx:
        created = users.create(tx, email=email, name=name, role=role, tier=tier, password_hash=hashed, actor=actor)
    click.echo(created.id)


@click.command()
@boot_options("data", "key_file")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, required=True, help="Read the password from standard input.")
def password(chosen: Settings, email: str, password_stdin: bool) -> None:
    """Give a user a new password; all their sessions end."""
    actor = on_command_line("user password")
    with open_file(chosen) as store:
        with store.read() as db:
            owner = users.by_email(db, email)
        hashed = _new_password(owner.email, owner.name)
        with store.transaction() as tx:
            passwords.store(tx, owner.id, hashed, actor)
            sessions.end_all(tx, owner.id, actor)


@click.command("reset-factor")
@boot_options("data", "key_file")
@click.argument("email")
def reset_factor(chosen: Settings, email: str) -> None:
    """Take a user's second factor away, when phone and recovery codes are lost; all their sessions end."""
    actor = on_command_line("user reset-factor")
    with open_file(chosen) as store, store.transaction() as tx:
        owner = users.by_email(tx, email)
        second_factors.remove(tx, owner.id, actor)
        sessions.end_all(tx, owner.id, actor)


@click.command()
@boot_options("data", "key_file", "host", "port", "public_url")
@click.option("--email", required=True, help="The user's address.")
def link(chosen: Settings, email: str) -> None:
    """Print a sign-in link for a user that works once, within 24 hours."""
    from secureai_appliance.web.addresses import public_url

    with open_file(chosen) as store, store.transaction() as tx:
        token = sessions.create_link(tx, users.by_email(tx, email).id, on_command_line("user link"))
    # a running server knows best where it is reached; the options may have been given to it alone
    address = ServeLock.noted(chosen.data_folder.lock) or public_url(chosen, chosen.port)
    click.echo(f"{address}/sign-in/{token}")


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


COMMANDS: tuple[click.Command, ...] = (
    *(create, password, reset_factor, link),
    *(list_, disable, enable, role, tier, delete),
)


def _new_password(*about: str) -> str:
    """The hash of the password on standard input. Raises ValidationError."""
    password = sys.stdin.read().removesuffix("\n")
    passwords.check_policy(password, *about)
    return passwords.hash_password(password)


def _change(chosen: Settings, command: str, email: str, **fields: Any) -> None:
    ownership = _ownership()
    with open_file(chosen) as store, store.transaction() as tx:
        users.patch(tx, operator(command), ownership, users.by_email(tx, email).id, UserPatch(**fields))


def _ownership() -> Ownership:
    from secureai_appliance.appliance import OWNERSHIP

    return OWNERSHIP
