"""Who there is and whose things there are, for the test of every route with everybody."""

from __future__ import annotations

from collections.abc import Callable

from secureai_appliance.accounts import keys, sessions, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.permissions import ORDINARY, PERMISSIONS, ROLE_PERMISSIONS
from secureai_appliance.conversations import assistants, chats, prompts
from secureai_appliance.conversations.assistants import AssistantCreate
from secureai_appliance.conversations.chats import ChatCreate
from secureai_appliance.conversations.prompts import PromptCreate
from secureai_appliance.conversations.toolbox.shapes import ToolCreate
from secureai_appliance.core.ids import hash_secret, new_id, random_text
from secureai_appliance.knowledge import bases, documents
from secureai_appliance.knowledge.bases import KnowledgeCreate
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.web.route import Route
from tests.support.running import Running

NARROW = "embeddings:create"

RIGHTS: dict[str, frozenset[str]] = {
    "guest": frozenset(),
    "user": ORDINARY,
    "other user": ORDINARY,
    "group member": (ORDINARY | {"usage:read"}) - {"models:read"},
    "denied user": ORDINARY - {"keys:write"},
    "auditor": ROLE_PERMISSIONS["auditor"],
    "admin": frozenset(PERMISSIONS),
    "narrow key": frozenset({NARROW}),
    "narrow token": frozenset({NARROW}),
}
"""Everybody there is, and what they hold. The narrow key and the narrow token of OAuth are an administrator's."""

NOBODYS = (
    *("/api/v1/models/{id}", "/api/v1/users/{id}", "/api/v1/groups/{id}", "/api/v1/configs/{key}"),
    *("/api/v1/auditlogs/{id}", "/api/v1/oauth/clients/{id}", "/sign-in/{token}", "/static/{file}"),
    *("/api/v1/webhooks/{id}", "/api/v1/webhooks/deliveries/{id}"),
)
"""Paths to things that belong to the appliance: whoever holds the permission finds them all."""

ELSEWHERE = ("/account/keys/{id}", "/account/sessions/{id}", "/account/authorizations/{id}", "/api/v1/uploads/{id}")
"""Paths to people's own things that a key and a JSON body don't reach: their own tests show what others' are."""


def make_key(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        return keys.create(tx, users.caller_of(tx, user_id), KeyCreate(name="theirs")).id


def make_authorization(api: Running, user_id: str) -> str:
    client, grant = new_id("oac"), new_id("grant")
    with api.appliance.store.transaction() as tx:
        tx.run(
            "INSERT INTO oauth_clients (id, name, redirect_uris, grant_types, scopes, created_at, updated_at)"
            " VALUES (?, 'theirs', '[]', '[]', '[]', 0, 0)",
            client,
        )
        tx.run(
            "INSERT INTO oauth_grants (id, client_id, user_id, kind, scopes, expires_at, created_at, updated_at)"
            " VALUES (?, ?, ?, 'code', '[]', ?, 0, 0)",
            *(grant, client, user_id, tx.now() + 3600),
        )
    return grant


def make_session(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        secret = sessions.open_(tx, user_id, "link", sessions.Browser("127.0.0.1", "test"))
        return str(tx.value("SELECT id FROM sessions WHERE secret_hash = ?", hash_secret(secret)))


def make_base(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        caller = users.caller_of(tx, user_id)
        return bases.create(tx, caller, KnowledgeCreate(name=random_text(8)), "text-embedding-3-small").id


def make_chat(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        return chats.create(tx, users.caller_of(tx, user_id), ChatCreate(title="theirs")).id


def make_prompt(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        body = PromptCreate(name=new_id("theirs"), content="{{part}} {{car}}")
        return prompts.create(tx, users.caller_of(tx, user_id), body).id


def make_document(api: Running, user_id: str) -> str:
    base_id = make_base(api, user_id)
    with api.appliance.store.transaction() as tx:
        blob = BlobWriter(api.appliance.store)
        blob.write(random_text(40).encode())
        file = NewFile("a.txt", "text/plain", blob)
        return documents.add(
            tx, users.caller_of(tx, user_id), base_id, [file], sealer=api.appliance.sealer, password=None
        )[0].id


def make_assistant(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        return assistants.create(tx, users.caller_of(tx, user_id), AssistantCreate(name=new_id("theirs"))).id


def make_tool(api: Running, user_id: str) -> str:
    with api.appliance.store.transaction() as tx:
        body = ToolCreate(name=new_id("theirs"), type="builtin", builtin="calculator")
        return api.appliance.toolbox.registry.create(tx, users.caller_of(tx, user_id), body).id


OWNED: dict[str, Callable[[Running, str], str]] = {
    "/api/v1/chats/{id}": make_chat,
    "/api/v1/keys/{id}": make_key,
    "/api/v1/documents/{document_id}": make_document,
    "/api/v1/knowledge/{id}": make_base,
    "/api/v1/me/authorizations/{id}": make_authorization,
    "/api/v1/me/sessions/{id}": make_session,
    "/api/v1/assistants/{id}": make_assistant,
    "/api/v1/prompts/{id}": make_prompt,
    "/api/v1/tools/{id}": make_tool,
}
"""Paths to things that belong to a user, each with what makes one: everybody else finds the same as nothing."""

ALLOWED: dict[tuple[str, str, str], int] = {
    ("admin", "GET", "/api/v1/keys/{id}"): 200,
    ("admin", "PATCH", "/api/v1/keys/{id}"): 403,
    ("admin", "POST", "/api/v1/keys/{id}/rotate"): 403,
    ("admin", "DELETE", "/api/v1/keys/{id}"): 204,
}
"""Who finds others' things all the same, and what they are answered."""


def owned_path(route: Route) -> str | None:
    """The path of `OWNED` that the route lies under."""
    return next((path for path in OWNED if _under(route, path)), None)


def is_declared(route: Route) -> bool:
    """Whether it is said whose things the route's path leads to."""
    return (
        "{" not in route.path
        or owned_path(route) is not None
        or any(_under(route, path) for path in (*NOBODYS, *ELSEWHERE))
    )


def _under(route: Route, path: str) -> bool:
    return route.path == path or route.path.startswith(f"{path}/")
