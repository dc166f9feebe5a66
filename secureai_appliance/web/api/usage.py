"""`/usage`: everybody's, for those who may see it; `/me/usage`: one's own."""

from __future__ import annotations

from secureai_appliance.governance import usage_reports
from secureai_appliance.governance.usage_reports import UsagePage, UsageQuery
from secureai_appliance.web.answers import Download
from secureai_appliance.web.request import Request

CSV = "text/csv; charset=utf-8"


def index(request: Request[None, UsageQuery]) -> UsagePage:
    parts = request.parts
    parts.usage.flush()
    with parts.store.read() as db:
        return usage_reports.report(db, request.query, parts.clock.now())


def mine(request: Request[None, UsageQuery]) -> UsagePage:
    parts = request.parts
    parts.usage.flush()
    with parts.store.read() as db:
        return usage_reports.report(db, request.query, parts.clock.now(), user_id=request.caller.user_id)


def export(request: Request[None, UsageQuery]) -> Download:
    parts = request.parts
    parts.usage.flush()
    return Download(usage_reports.as_csv(parts.store, request.query, parts.clock.now()), CSV, "usage.csv")
