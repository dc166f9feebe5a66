"""`/me/sessions`: where the caller is signed in to the pages."""

from __future__ import annotations

from secureai_appliance.accounts import sessions
from secureai_appliance.accounts.sessions import Session
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.request import Request


def index(request: Request[None, ListQuery]) -> Page[Session]:
    parts = request.parts
    with parts.store.read() as db:
        lasting = sessions.lifetimes(parts.configs)
        return sessions.list_(db, request.caller, request.query, int(parts.clock.now()), lasting)


def delete(request: Request[None, None]) -> None:
    sessions.end(request.tx, request.caller, request.path["id"], sessions.lifetimes(request.parts.configs))
