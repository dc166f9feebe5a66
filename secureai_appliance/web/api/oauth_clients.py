"""`/oauth/clients`: the programs that may ask for access."""

from __future__ import annotations

from typing import Any

from secureai_appliance.accounts.oauth import clients
from secureai_appliance.accounts.oauth.clients import Client, ClientCreate, ClientCreated, ClientPatch
from secureai_appliance.governance import audit
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.oauth.asking import insecure_http
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, ListQuery]) -> Page[Client]:
    with request.parts.store.read() as db:
        return clients.list_(db, request.query)


def create(request: Request[ClientCreate, None]) -> ClientCreated:
    made = clients.create(request.tx, request.caller, request.body, insecure_http=insecure_http(request))
    _record(request, "created", made.id, scopes=made.scopes, grant_types=list(made.grant_types), acts_as=made.user_id)
    return made


def show(request: Request[None, None]) -> Client:
    with request.parts.store.read() as db:
        return clients.get(db, request.path["id"])


def update(request: Request[ClientPatch, None]) -> Client:
    client_id = request.path["id"]
    require_match(request, clients.get(request.tx, client_id))
    changed = clients.patch(request.tx, request.caller, client_id, request.body, insecure_http=insecure_http(request))
    _record(request, "updated", client_id, scopes=changed.scopes)
    return changed


def delete(request: Request[None, None]) -> None:
    client_id = request.path["id"]
    require_match(request, clients.get(request.tx, client_id))
    clients.delete(request.tx, client_id)
    _record(request, "deleted", client_id)


def rotate_secret(request: Request[None, None]) -> ClientCreated:
    made = clients.rotate_secret(request.tx, request.caller, request.path["id"])
    _record(request, "secret_rotated", made.id)
    return made


def _record(request: Request[Any, Any], what: str, client_id: str, **details: Any) -> None:
    audit.record(request.tx, request.caller.actor, f"oauth_client.{what}", "oauth_client", client_id, details=details)
