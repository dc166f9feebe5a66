"""`/me/authorizations`: the programs that may act for the caller."""

from __future__ import annotations

from secureai_appliance.accounts.oauth import grants
from secureai_appliance.accounts.oauth.grants import Authorization
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, ListQuery]) -> Page[Authorization]:
    with request.parts.store.read() as db:
        return grants.list_(db, request.caller, request.query, int(request.parts.clock.now()))


def show(request: Request[None, None]) -> Authorization:
    with request.parts.store.read() as db:
        return grants.get(db, request.caller, request.path["id"], int(request.parts.clock.now()))


def delete(request: Request[None, None]) -> None:
    tx, grant_id = request.tx, request.path["id"]
    require_match(request, grants.get(tx, request.caller, grant_id, tx.wall()))
    grants.revoke(tx, request.caller, grant_id)
