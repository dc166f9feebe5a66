"""What can go wrong in the store, and how SQLite's own errors become it."""

from __future__ import annotations

import logging

import apsw

from secureai_appliance.core.errors import ServiceUnavailable

RETRY_AFTER = 5
BUSY_RETRY_AFTER = 1

log = logging.getLogger(__name__)


class IntegrityViolation(Exception):
    """A row that breaks the schema (foreign key, check, not null, type). Only the statement is undone."""


class UniqueViolation(IntegrityViolation):
    """A value that must be unique exists already. `columns` are named as in `users.email`."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        super().__init__(f"not unique: {', '.join(columns)}")
        self.columns = columns


_UNIQUE_CODES = frozenset(
    {apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID}
)

# conditions of the machine and the disk; every other error of apsw is a defect of ours and stays what it is
_UNAVAILABLE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.InterruptError,
    apsw.AbortError,
    apsw.NoMemError,
    apsw.CantOpenError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.CorruptError,
    apsw.NotADBError,
)
UNAVAILABLE_WHEN_READING = _UNAVAILABLE
# a file system that turned read-only; in a reader it is a write that doesn't belong there
UNAVAILABLE_WHEN_WRITING = (*_UNAVAILABLE, apsw.ReadOnlyError)


def read_failure(cause: apsw.Error) -> Exception:
    """The error to raise instead of `cause`; itself when there is nothing better to say."""
    if isinstance(cause, UNAVAILABLE_WHEN_READING):
        return _unavailable("Storage can't be read at the moment. Nothing was changed.", cause)
    return cause


def write_failure(cause: apsw.Error) -> Exception:
    """The error to raise instead of `cause`; itself when there is nothing better to say."""
    if isinstance(cause, apsw.ConstraintError):
        return _constraint(cause)
    if isinstance(cause, UNAVAILABLE_WHEN_WRITING):
        return _unavailable("Storage can't be written at the moment. Nothing was changed.", cause)
    return cause


def _unavailable(message: str, cause: apsw.Error) -> ServiceUnavailable:
    log.error("%s %s: %s", message, type(cause).__name__, cause)
    return ServiceUnavailable(
        message, retry_after=BUSY_RETRY_AFTER if isinstance(cause, apsw.BusyError) else RETRY_AFTER
    )


def _constraint(cause: apsw.ConstraintError) -> IntegrityViolation:
    _, _, named = str(cause).partition(" failed: ")
    if getattr(cause, "extendedresult", 0) in _UNIQUE_CODES:
        return UniqueViolation(tuple(named.split(", ")))
    return IntegrityViolation(str(cause))
