"""`/auditlogs`: who did what, for administrators and auditors."""

from __future__ import annotations

import msgspec

from secureai_appliance.governance import audit, audit_export, chain
from secureai_appliance.governance.audit import AuditLog, AuditQuery, Filter, Outcome
from secureai_appliance.governance.audit_export import Format
from secureai_appliance.governance.chain import Verification
from secureai_appliance.store import Page
from secureai_appliance.web.answers import Download
from secureai_appliance.web.request import Request

TYPES: dict[str, str] = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class ExportQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The list's filters, and the form of the file: JSON objects line by line, or CSV."""

    format: Format = "jsonl"
    actor: Filter | None = None
    action: Filter | None = None
    target: Filter | None = None
    target_type: Filter | None = None
    outcome: Outcome | None = None
    created_after: str | None = None
    created_before: str | None = None
    q: Filter | None = None


def index(request: Request[None, AuditQuery]) -> Page[AuditLog]:
    with request.parts.store.read() as db:
        return audit.list_(db, request.query)


def show(request: Request[None, None]) -> AuditLog:
    with request.parts.store.read() as db:
        return audit.get(db, request.path["id"])


def export(request: Request[None, ExportQuery]) -> Download:
    store, asked = request.parts.store, msgspec.structs.asdict(request.query)
    kind: Format = asked.pop("format")
    pieces = audit_export.pieces(store, AuditQuery(**asked), kind)
    with store.transaction() as tx:
        audit.record(tx, request.caller.actor, "audit.exported", "audit_log", details={"format": kind})
    return Download(pieces, TYPES[kind], f"auditlogs.{kind}")


def verify(request: Request[None, None]) -> Verification:
    return chain.verify(request.parts.store, request.parts.store.chain_key)
