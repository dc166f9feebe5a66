"""`/keys`: the caller's own API keys; administrators see and revoke everybody's."""

from __future__ import annotations

from secureai_appliance.accounts import keys
from secureai_appliance.accounts.keys import Key, KeyCreate, KeyCreated, KeyPatch, KeyQuery, KeyRotate
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, KeyQuery]) -> Page[Key]:
    with request.parts.store.read() as db:
        return keys.list_(db, request.caller, request.query)


def create(request: Request[KeyCreate, None]) -> KeyCreated:
    return keys.create(request.tx, request.caller, request.body)


def show(request: Request[None, None]) -> Key:
    with request.parts.store.read() as db:
        return keys.get(db, request.caller, request.path["id"])


def update(request: Request[KeyPatch, None]) -> Key:
    key_id = request.path["id"]
    require_match(request, keys.get(request.tx, request.caller, key_id))
    return keys.patch(request.tx, request.caller, key_id, request.body)


def rotate(request: Request[KeyRotate, None]) -> KeyCreated:
    return keys.rotate(request.tx, request.caller, request.path["id"], request.body.grace_seconds)


def delete(request: Request[None, None]) -> None:
    key_id = request.path["id"]
    require_match(request, keys.get(request.tx, request.caller, key_id))
    keys.revoke(request.tx, request.caller, key_id)
