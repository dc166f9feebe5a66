"""What belongs to users: each room declares its tables, and deleting or disabling a user looks at nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from secureai_appliance.store import Transaction

OnDelete = Literal["delete", "transfer", "keep"]


@dataclass(frozen=True)
class Owned:
    """A table whose rows belong to a user.

    `on_delete`: `delete`, the rows go with their user; `transfer`, they go to the user that the deletion names, or with
    their user when it names none; `keep`, they stay as they are (logs, accounts of use) and refer to nobody.
    """

    table: str
    column: str
    """Of the owner's id."""
    on_delete: OnDelete
    credential: bool = False
    """Lets its user in: gone for good when they are disabled. (API keys are asked about their user at each use.)"""
    remove: Callable[[Transaction, str], None] | None = None
    """Takes away what belongs to this user, where that is more than the rows of the table."""
    move: Callable[[Transaction, str, str], None] | None = None
    """Gives what belongs to the first user to the second, where that is more than a new owner (names)."""


class Ownership:
    """Every table that belongs to users, as `appliance` has collected them from the rooms."""

    def __init__(self, owned: Iterable[Owned]) -> None:
        self.owned = tuple(owned)

    def give_up(self, tx: Transaction, user_id: str, transfer_to: str | None) -> None:
        """Leave nothing that belongs to the user; the last declared first, because it may refer to earlier ones."""
        for owned in reversed(self.owned):
            if owned.on_delete == "transfer" and transfer_to is not None:
                _move(tx, owned, user_id, transfer_to)
            elif owned.on_delete != "keep":
                _remove(tx, owned, user_id)

    def end_credentials(self, tx: Transaction, user_id: str) -> None:
        """End all sessions, links and tokens of the user."""
        for owned in self.owned:
            if owned.credential:
                _remove(tx, owned, user_id)


def _move(tx: Transaction, owned: Owned, user_id: str, transfer_to: str) -> None:
    if owned.move is not None:
        owned.move(tx, user_id, transfer_to)
        return
    tx.run(
        f"UPDATE {owned.table} SET {owned.column} = ? WHERE {owned.column} = ?",  # noqa: S608 (constants of the rooms)
        transfer_to,
        user_id,
    )


def _remove(tx: Transaction, owned: Owned, user_id: str) -> None:
    if owned.remove is not None:
        owned.remove(tx, user_id)
        return
    tx.run(f"DELETE FROM {owned.table} WHERE {owned.column} = ?", user_id)  # noqa: S608 (constants of the rooms)
