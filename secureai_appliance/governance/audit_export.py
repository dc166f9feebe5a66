"""The audit log as a file: one JSON object or one CSV line a row, in pages, so that no transaction reads for long."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import AuditLog, AuditQuery
from secureai_appliance.store import Store
from secureai_appliance.store.listing import filters

Format = Literal["jsonl", "csv"]

_AT_ONCE = 500
_HEADER = [
    "number",
    "id",
    "timestamp",
    "user_id",
    "key_id",
    "ip",
    "action",
    "target_type",
    "target_id",
    "outcome",
    "details",
    "hash",
]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def pieces(store: Store, query: AuditQuery, kind: Format) -> Iterator[bytes]:
    """The rows that `query` leaves (its page and order aside), oldest first, as they stood when this was called.

    Raises ValidationError for a bad date, before the first piece.
    """
    terms, params = filters(audit.SPEC, query)
    own, own_params = audit.conditions(query)
    where = " AND ".join(["row_id > ? AND row_id <= ?", *terms, *([own] if own else [])])
    sql = f"SELECT {audit.SPEC.columns} FROM audit_log WHERE {where} ORDER BY row_id LIMIT ?"  # noqa: S608 (constant)
    with store.read() as db:
        last = int(db.value("SELECT MAX(row_id) FROM audit_log") or 0)
    return _walk(store, sql, (last, *params, *own_params), kind)


def _walk(store: Store, sql: str, params: tuple[Any, ...], kind: Format) -> Iterator[bytes]:
    after = 0
    yield _lines([_HEADER]) if kind == "csv" else b""
    while True:
        with store.read() as db:
            rows = [audit.shown(row) for row in db.all(sql, after, *params, _AT_ONCE)]
        if not rows:
            return
        yield _lines([_cells(row) for row in rows]) if kind == "csv" else msgspec.json.Encoder().encode_lines(rows)
        after = rows[-1].number


def _cells(row: AuditLog) -> list[str]:
    details = msgspec.json.encode(row.details).decode()
    actor, target = row.actor, row.target
    cells = (row.number, row.id, row.timestamp, actor.user_id, actor.key_id, actor.ip)
    return [
        _harmless(str(c or "")) for c in (*cells, row.action, target.type, target.id, row.outcome, details, row.hash)
    ]


def _harmless(cell: str) -> str:
    # a spreadsheet would take it for a formula
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _lines(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
