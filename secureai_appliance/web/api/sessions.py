"""`/me/sessions`: where the caller is signed in to the pages."""

from __future__ import annotations

from secureai_appliance.accounts import sessions
from secureai_appliance.accounts.sessions import Session
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.request import Request


def index(request: Request[None, ListQuery]) -> Page[Session]:
    with request.parts.store.read() as db:
        return sessions.list_(db, request.caller, request.query, int(request.parts.clock.now()))


def delete(request: Request[None, None]) -> None:
    sessions.end(request.tx, request.caller, request.path["id"])
