"""The chain of the audit log: a row's hash covers the row and the hash before it, under a key that is not in the file.

How many rows there are and the hash of the last are sealed too, in the transaction that adds a row: so the newest rows
can't be cut off unseen either. Only a whole older state of the file, put back with its own seal, looks as it did then.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from secureai_appliance.core.errors import Conflict
from secureai_appliance.core.ids import new_id
from secureai_appliance.store import Reader, Store, Transaction

ORIGIN = bytes(32)
"""Stands for the hash before the first row, and before a row that had no chain to go on with."""
BROKEN = "audit.chain_broken"
_AT_ONCE = 1000
_MOST_BREAKS = 100
_COLUMNS = "row_id, id, created_at, actor_id, key_id, ip, action, target_type, target_id, outcome, details, hash"

Row = tuple[Any, ...]
Content = tuple[str, int, str | None, str | None, str | None, str, str, str | None, str, str]
"""A row's columns between its number and its hash, in their order."""


class Head(NamedTuple):
    """How far the chain reaches: numbers and hashes of the last row that retention dropped, and of the newest."""

    dropped: int
    dropped_hash: bytes
    number: int
    hash: bytes


_EMPTY = Head(0, ORIGIN, 0, ORIGIN)


class _End(NamedTuple):
    """The head as it stands in the file, with its seal, and the newest row's number (0: there is none)."""

    head: Head
    seal: bytes | None
    newest: int

    def is_sealed(self, key: bytes) -> bool:
        return self.seal is not None and hmac.compare_digest(self.seal, _seal(key, self.head))

    def is_whole(self, key: bytes) -> bool:
        """Whether the log ends where its seal says."""
        return self.is_sealed(key) and (self.newest or self.head.dropped) == self.head.number


class Break(msgspec.Struct, kw_only=True):
    """A place where the log is not what was written: rows `first` to `last`, and what is wrong with them.

    `altered`: the row or its order was changed. `missing`: rows were deleted. `cut`: when this row was written, the
    end of the log was not what had been sealed. `seal`: the seal of the log's length is not ours.
    """

    kind: str
    first: int
    last: int
    id: str | None = None


class Verification(msgspec.Struct, kw_only=True):
    """Whether the log is what was written, and where it is not (the first 100 places).

    `rows` were checked, after the `dropped` that retention took. `count` and `head` name the newest row: noted
    elsewhere, they show later that nothing up to there was replaced by an older state of the file.
    """

    ok: bool
    rows: int
    dropped: int
    count: int
    head: str
    breaks: list[Break]


def begin(tx: Transaction) -> None:
    """Seal the empty log of a new file, once. What stands there already is left as it is."""
    tx.run(
        "UPDATE audit_head SET sealed = ? WHERE count = 0 AND sealed IS NULL AND NOT EXISTS (SELECT 1 FROM audit_log)",
        _seal(tx.chain_key, _EMPTY),
    )


def append(tx: Transaction, content: Content) -> None:
    """Add a row. When the log doesn't end where its seal says, a row `audit.chain_broken` says so for good first."""
    if not tx.chain_key:
        raise RuntimeError("the store was opened without the key of the audit chain")
    end = _end(tx)
    if not end.is_whole(tx.chain_key):
        # a new beginning, behind all there is or was: what happened to the log is not covered up by going on with it
        number = max(end.head.number, end.newest)
        broken = (new_id("aud"), tx.now(), None, None, None, BROKEN, "audit_log", None, "failure", "{}")
        end = end._replace(head=_add(tx, end.head._replace(number=number, hash=ORIGIN), broken))
    _add(tx, end.head, content)


def _add(tx: Transaction, head: Head, content: Content) -> Head:
    number = head.number + 1
    hashed = _hash(tx.chain_key, head.hash, number, content)
    tx.run(
        f"INSERT INTO audit_log ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (constant)
        *(number, *content, hashed),
    )
    tx.recorded += 1
    return _write_head(tx, head._replace(number=number, hash=hashed))


def verify(store: Store, key: bytes) -> Verification:
    """Check every row, in pages: other transactions go on meanwhile."""
    while True:
        with store.read() as db:
            end = _end(db)
        head = end.head
        found = _Walk(key, head)
        for page in _pages(store, head.dropped, max(end.newest, head.number)):
            found.look_at(page)
        with store.read() as db:
            # retention may have taken rows away under the walk: what is missing then is not missing
            if _end(db).head.dropped == head.dropped:
                return found.outcome(end.is_sealed(key))


def drop(tx: Transaction, before: int) -> int:
    """Take the oldest rows away, at most 1000, that are older than `before` (Unix seconds); how many.

    Number and hash of the last one are sealed in their place. Raises Conflict when they are not what was written:
    nothing that shows a break is ever taken away.
    """
    end = _end(tx)
    head = end.head
    rows = [row for row in _page(tx, head.dropped, head.dropped + _AT_ONCE) if row[2] < before]
    if not rows:
        return 0
    found = _Walk(tx.chain_key, head)
    found.look_at(rows)
    if found.breaks or not end.is_whole(tx.chain_key):
        raise Conflict("The audit log is not what was written: verify it. Nothing was taken away.", constraint="chain")
    last, hashed = rows[-1][0], rows[-1][11]
    tx.run("DELETE FROM audit_log WHERE row_id <= ?", last)
    _write_head(tx, head._replace(dropped=last, dropped_hash=hashed))
    return len(rows)


class _Walk:
    """Goes along the chain and notes where it breaks."""

    def __init__(self, key: bytes, head: Head) -> None:
        self._key = key
        self._head = head
        self._reached = head.dropped
        # None: the row before is gone, and there is nothing that the next could be checked against
        self._previous: bytes | None = head.dropped_hash
        self.rows = 0
        self.breaks: list[Break] = []

    def look_at(self, rows: list[Row]) -> None:
        for number, *content, hashed in rows:
            self._step(number, tuple(content), hashed)

    def _step(self, number: int, content: Row, hashed: bytes) -> None:
        if number != self._reached + 1:
            self._note(Break(kind="missing", first=self._reached + 1, last=number - 1))
            self._previous = None
        begins = content[5] == BROKEN
        if begins:
            self._previous = ORIGIN
        if self._previous is not None and hashed != _hash(self._key, self._previous, number, content):
            self._note(Break(kind="altered", first=number, last=number, id=content[0]))
        elif begins:
            self._note(Break(kind="cut", first=number, last=number, id=content[0]))
        self._reached, self._previous = number, hashed
        self.rows += 1

    def outcome(self, sealed: bool) -> Verification:
        head = self._head
        if self._reached < head.number:
            self._note(Break(kind="missing", first=self._reached + 1, last=head.number))
        elif not sealed or (self._reached, self._previous) != (head.number, head.hash):
            self._note(Break(kind="seal", first=head.number, last=self._reached))
        return Verification(
            ok=not self.breaks,
            rows=self.rows,
            dropped=head.dropped,
            count=head.number,
            head=head.hash.hex(),
            breaks=self.breaks,
        )

    def _note(self, found: Break) -> None:
        if len(self.breaks) < _MOST_BREAKS:
            self.breaks.append(found)


def _pages(store: Store, after: int, last: int) -> Iterator[list[Row]]:
    while after < last:
        with store.read() as db:
            rows = _page(db, after, last)
        if not rows:
            return
        yield rows
        after = rows[-1][0]


def _page(db: Reader, after: int, last: int) -> list[Row]:
    return db.all(
        f"SELECT {_COLUMNS} FROM audit_log WHERE row_id > ? AND row_id <= ? ORDER BY row_id LIMIT ?",  # noqa: S608
        *(after, last, _AT_ONCE),
    )


def _end(db: Reader) -> _End:
    newest = int(db.value("SELECT MAX(row_id) FROM audit_log") or 0)
    row = db.one("SELECT dropped, dropped_hash, count, hash, sealed FROM audit_head WHERE id = 1")
    return _End(_EMPTY, None, newest) if row is None else _End(Head(*row[:4]), row[4], newest)


def _write_head(tx: Transaction, head: Head) -> Head:
    tx.run(
        "INSERT OR REPLACE INTO audit_head (id, dropped, dropped_hash, count, hash, sealed) VALUES (1, ?, ?, ?, ?, ?)",
        *head,
        _seal(tx.chain_key, head),
    )
    return head


def _hash(key: bytes, previous: bytes, number: int, content: Row) -> bytes:
    return hmac.digest(key, b"row" + previous + msgspec.json.encode((number, *content)), "sha256")


def _seal(key: bytes, head: Head) -> bytes:
    return hmac.digest(key, b"head" + msgspec.json.encode(head), "sha256")
