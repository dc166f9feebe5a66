"""`/usage`: everybody's, for those who may see it; `/me/usage`: one's own."""

from __future__ import annotations

from secureai_appliance.governance import usage
from secureai_appliance.governance.usage import UsagePage, UsageQuery
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.request import Request

CSV = "text/csv; charset=utf-8"


def index(request: Request[None, UsageQuery]) -> UsagePage:
    parts = request.parts
    parts.usage.flush()
    with parts.store.read() as db:
        return usage.report(db, request.query, parts.clock.now())


def mine(request: Request[None, UsageQuery]) -> UsagePage:
    parts = request.parts
    parts.usage.flush()
    with parts.store.read() as db:
        return usage.report(db, request.query, parts.clock.now(), user_id=request.caller.user_id)


def export(request: Request[None, UsageQuery]) -> Answer:
    parts = request.parts
    parts.usage.flush()
    with parts.store.read() as db:
        body = usage.report_as_csv(db, request.query, parts.clock.now())
    return Answer(body=body, content_type=CSV, headers={"Content-Disposition": 'attachment; filename="usage.csv"'})
