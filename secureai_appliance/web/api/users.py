"""`/users`: for administrators, and to read for auditors."""

from __future__ import annotations

from secureai_appliance.accounts import second_factors, sessions, users
from secureai_appliance.accounts.sessions import SignInLink
from secureai_appliance.accounts.user_fields import User, UserCreate, UserDelete, UserPatch, UserQuery
from secureai_appliance.store import Page
from secureai_appliance.web.addresses import public_url
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, UserQuery]) -> Page[User]:
    with request.parts.store.read() as db:
        return users.list_(db, request.query)


def create(request: Request[UserCreate, None]) -> User:
    return users.add(request.tx, request.caller, request.body)


def show(request: Request[None, None]) -> User:
    with request.parts.store.read() as db:
        return users.get(db, request.path["id"])


def update(request: Request[UserPatch, None]) -> User:
    user_id = request.path["id"]
    require_match(request, users.get(request.tx, user_id))
    return users.patch(request.tx, request.caller, request.parts.ownership, user_id, request.body)


def delete(request: Request[None, UserDelete]) -> None:
    user_id = request.path["id"]
    require_match(request, users.get(request.tx, user_id))
    users.delete(request.tx, request.caller, request.parts.ownership, user_id, request.query.transfer_to)


def invite(request: Request[None, None]) -> SignInLink:
    address = public_url(request.parts.settings, int(request.environ["SERVER_PORT"]))
    return sessions.invite(request.tx, request.caller, request.path["id"], address)


def remove_second_factor(request: Request[None, None]) -> None:
    user_id = request.path["id"]
    require_match(request, users.get(request.tx, user_id))
    request.caller.require_reach(users.rights(request.tx, user_id))
    second_factors.remove(request.tx, user_id, request.caller.actor)
    # whoever had the phone may still be signed in with it
    sessions.end_all(request.tx, user_id, request.caller.actor)
