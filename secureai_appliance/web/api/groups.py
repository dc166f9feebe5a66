"""`/groups`: for administrators, and to read for auditors."""

from __future__ import annotations

from secureai_appliance.accounts import groups, users
from secureai_appliance.accounts.groups import Group, GroupCreate, GroupPatch, MembersAdd
from secureai_appliance.accounts.user_fields import User, UserQuery
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, ListQuery]) -> Page[Group]:
    with request.parts.store.read() as db:
        return groups.list_(db, request.query)


def create(request: Request[GroupCreate, None]) -> Group:
    return groups.create(request.tx, request.caller, request.body)


def show(request: Request[None, None]) -> Group:
    with request.parts.store.read() as db:
        return groups.get(db, request.path["id"])


def update(request: Request[GroupPatch, None]) -> Group:
    group_id = request.path["id"]
    require_match(request, groups.get(request.tx, group_id))
    return groups.patch(request.tx, request.caller, group_id, request.body)


def delete(request: Request[None, None]) -> None:
    group_id = request.path["id"]
    require_match(request, groups.get(request.tx, group_id))
    groups.delete(request.tx, request.caller, group_id)


def members(request: Request[None, UserQuery]) -> Page[User]:
    with request.parts.store.read() as db:
        group_id = groups.get(db, request.path["id"]).id
        return users.list_(db, request.query, member_of=group_id)


def add_members(request: Request[MembersAdd, None]) -> Group:
    return groups.add_members(request.tx, request.caller, request.path["id"], request.body.user_ids)


def remove_member(request: Request[None, None]) -> None:
    group_id = request.path["id"]
    require_match(request, groups.get(request.tx, group_id))
    groups.remove_member(request.tx, request.caller, group_id, request.path["user_id"])
