"""No state change without its row in the audit log (P32): generated from the route table."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from secureai_appliance.accounts import passwords, sessions
from secureai_appliance.core.ids import new_id, random_text
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.web.route import Route
from secureai_appliance.web.routes import route_table
from tests.support import account_requests, knowledge_requests, webhook_requests
from tests.support.audit import newest, rows
from tests.support.models import EMBEDDING
from tests.support.oauth import CALLBACK, DEVICE_CODE, FORM, register, session_of
from tests.support.recipes import Recipe, on
from tests.support.running import Response, Running

CHANGING = [route for route in route_table() if route.method not in {"GET", "HEAD"} and not route.unaudited]
ADMIN = "admin@localhost"


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def key(api: Running) -> str:
    return f"/api/v1/keys/{api.ask('POST', '/api/v1/keys', {'name': 'k'}).json['id']}"


def user(api: Running) -> str:
    body = {"email": f"{random_text(8)}@example.org", "name": "Ada"}
    return f"/api/v1/users/{api.ask('POST', '/api/v1/users', body).json['id']}"


def guarded(api: Running) -> Callable[[], Response]:
    person = account_requests.Person(api)
    person.recovery_code()
    return lambda: api.ask("DELETE", f"/api/v1/users/{person.id}/second-factor")


def group(api: Running) -> str:
    return f"/api/v1/groups/{api.ask('POST', '/api/v1/groups', {'name': random_text(8)}).json['id']}"


def membership(api: Running) -> str:
    of, user_id = group(api), user(api).rpartition("/")[2]
    api.ask("POST", f"{of}/members", {"user_ids": [user_id]})
    return f"{of}/members/{user_id}"


def joining(api: Running) -> Callable[[], Response]:
    of, user_id = group(api), user(api).rpartition("/")[2]
    return lambda: api.ask("POST", f"{of}/members", {"user_ids": [user_id]})


def imported(api: Running) -> str:
    put_file(api)
    made = api.ask("POST", "/api/v1/models", {"file": "audited.gguf"})
    assert made.status == 201, made.body
    return f"/api/v1/models/{made.json['id']}"


def put_file(api: Running) -> None:
    if api.ask("GET", "/api/v1/models/audited").status == 200:
        api.ask("DELETE", "/api/v1/models/audited")
    target = api.appliance.settings.data_folder.import_ / "audited.gguf"
    shutil.copyfile(EMBEDDING, target)
    with target.open("ab") as file:
        file.write(bytes(32))


def import_(api: Running) -> Callable[[], Response]:
    put_file(api)
    return lambda: api.ask("POST", "/api/v1/models", {"file": "audited.gguf"})


def unloaded(api: Running) -> Callable[[], Response]:
    """The embedding model, once what others have left for it to index is done."""

    def ask() -> Response:
        for _ in range(60_000):
            answer = api.ask("POST", MINILM + "/unload")
            if answer.status != 409:
                break
        return answer

    return ask


def user_id(api: Running) -> str:
    return str(api.ask("GET", "/api/v1/me").json["id"])


def redeem(api: Running) -> Callable[[], Response]:
    with api.appliance.store.transaction() as tx:
        token = sessions.create_link(tx, user_id(api))
    return lambda: api.ask("POST", f"/sign-in/{token}", key=None, headers={"Origin": api.appliance.address})


def sign_in(api: Running) -> Callable[[], Response]:
    hashed = passwords.hash_password("correct horse battery staple 9")
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET password_hash = ? WHERE id = ?", hashed, user_id(api))
    sent = {"Origin": api.appliance.address, "Content-Type": "application/x-www-form-urlencoded"}
    form = b"email=admin%40localhost&password=correct+horse+battery+staple+9"
    return lambda: api.ask("POST", "/sign-in", form, key=None, headers=sent)


def sign_out(api: Running) -> Callable[[], Response]:
    with api.appliance.store.transaction() as tx:
        secret = sessions.open_(tx, user_id(api), "link", sessions.Browser("127.0.0.1", "test"))
    sent = {"Cookie": f"{sessions.COOKIE}={secret}", "Origin": api.appliance.address}
    return lambda: api.ask("POST", "/sign-out", key=None, headers=sent)


SETTING = "/api/v1/configs/limits.failed_authentications_per_minute"


def configured(method: str, path: str, body: object = None) -> Recipe:
    """A request on the settings, of which one is other than its default and other than what is asked for."""

    def prepare(api: Running) -> Callable[[], Response]:
        was = api.ask("GET", SETTING).json["value"]
        # an import takes all settings: the others stay what they are
        sent = api.ask("GET", "/api/v1/configs/export").json if body is None and method == "POST" else body

        def ask() -> Response:
            answer = api.ask(method, path, sent)
            # the other tests of this appliance count on what it was
            with api.appliance.store.transaction() as tx:
                api.appliance.configs.put(tx, SYSTEM, "limits.failed_authentications_per_minute", was)
            return answer

        with api.appliance.store.transaction() as tx:
            api.appliance.configs.put(tx, SYSTEM, "limits.failed_authentications_per_minute", was - 1)
        return ask

    return prepare


def client(api: Running) -> str:
    return f"/api/v1/oauth/clients/{register(api).id}"


def authorization(api: Running) -> str:
    register(api).tokens(session_of(api, ADMIN))
    return f"/api/v1/me/authorizations/{api.ask('GET', '/api/v1/me/authorizations').json['data'][0]['id']}"


def consented(api: Running) -> Callable[[], Response]:
    made, browser = register(api), session_of(api, ADMIN)
    return lambda: made.consent(browser)


def token_revoked(api: Running) -> Callable[[], Response]:
    made = register(api)
    token = made.tokens(session_of(api, ADMIN))["access_token"]
    return lambda: made.post("/oauth/revoke", {"token": token})


def device_allowed(api: Running) -> Callable[[], Response]:
    made = register(api, public=True, grant_types=[DEVICE_CODE], redirect_uris=[])
    user_code = made.post("/oauth/device_authorization", {}).json["user_code"]
    sent = {"Content-Type": FORM, **session_of(api, ADMIN)}
    form = f"user_code={user_code}&decision=allow".encode()
    return lambda: api.ask("POST", "/oauth/device", form, key=None, headers=sent)


def maintained(api: Running) -> Callable[[], Response]:
    sent = {"Content-Type": FORM, **session_of(api, ADMIN)}
    return lambda: api.ask("POST", "/maintenance", b"enabled=false", key=None, headers=sent)


def possession(path: str, body: dict[str, object]) -> Callable[[Running], str]:
    """Makes one of these under a name of its own."""

    def make(api: Running) -> str:
        made = api.ask("POST", path, {**body, "name": new_id("n")})
        assert made.status == 201, made.body
        return f"{path}/{made.json['id']}"

    return make


def making(path: str, body: dict[str, object]) -> Recipe:
    return lambda api: lambda: api.ask("POST", path, {**body, "name": new_id("n")})


PROMPTS = "/api/v1/prompts"
PROMPT: dict[str, object] = {"content": "Say {{what}}"}
TOOLS, ASSISTANTS = "/api/v1/tools", "/api/v1/assistants"
TOOL: dict[str, object] = {"type": "builtin", "builtin": "calculator"}


def import_tools(api: Running) -> Callable[[], Response]:
    values = {"values": {"tools.allowed_hosts": ["parts.example.org"]}}
    assert api.ask("PATCH", "/api/v1/configs", values).status == 200
    paths = {"/parts": {"get": {"operationId": new_id("find")}}}
    body = {"document": {"openapi": "3.1.0", "paths": paths}, "server_url": "https://parts.example.org"}
    return lambda: api.ask("POST", "/api/v1/tools/import", body)


CLIENT = {"name": "c", "redirect_uris": [CALLBACK], "scopes": ["models:read"]}
MINILM = "/api/v1/models/all-minilm-l6-v2"
CHATS = "/api/v1/chats"
KEPT = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "store": True}


def chat(api: Running) -> str:
    return f"{CHATS}/{api.ask('POST', CHATS, {}).json['id']}"


def archived_chat(api: Running) -> str:
    path = chat(api)
    api.ask("POST", f"{path}/archive")
    return path


RECIPES: dict[str, tuple[str, Recipe]] = {
    "POST /api/v1/chats": ("chat.created", lambda api: lambda: api.ask("POST", CHATS, {})),
    "PATCH /api/v1/chats/{id}": ("chat.updated", on(chat, "PATCH", body={"title": "renamed"})),
    "DELETE /api/v1/chats/{id}": ("chat.deleted", on(chat, "DELETE")),
    "POST /api/v1/chats/{id}/archive": ("chat.archived", on(chat, "POST", "/archive")),
    "POST /api/v1/chats/{id}/unarchive": ("chat.unarchived", on(archived_chat, "POST", "/unarchive")),
    "POST /api/v1/chat/completions": (
        "chat.created",
        lambda api: lambda: api.ask("POST", "/api/v1/chat/completions", KEPT),
    ),
    "POST /api/v1/keys": ("key.created", lambda api: lambda: api.ask("POST", "/api/v1/keys", {"name": "k"})),
    "PATCH /api/v1/keys/{id}": ("key.updated", on(key, "PATCH", body={"name": "renamed"})),
    "POST /api/v1/keys/{id}/rotate": ("key.rotated", on(key, "POST", "/rotate", {"grace_seconds": 0})),
    "DELETE /api/v1/keys/{id}": ("key.revoked", on(key, "DELETE")),
    "POST /api/v1/users": (
        "user.created",
        lambda api: lambda: api.ask("POST", "/api/v1/users", {"email": "new@example.org", "name": "New"}),
    ),
    "PATCH /api/v1/users/{id}": ("user.disabled", on(user, "PATCH", body={"disabled": True})),
    "DELETE /api/v1/users/{id}": ("user.deleted", on(user, "DELETE")),
    "POST /api/v1/users/{id}/sign-in-link": ("sign_in_link.created", on(user, "POST", "/sign-in-link")),
    "DELETE /api/v1/users/{id}/second-factor": ("second_factor.removed", guarded),
    "POST /api/v1/groups": ("group.created", lambda api: lambda: api.ask("POST", "/api/v1/groups", {"name": "New"})),
    "PATCH /api/v1/groups/{id}": ("group.updated", on(group, "PATCH", body={"description": "x"})),
    "DELETE /api/v1/groups/{id}": ("group.deleted", on(group, "DELETE")),
    "POST /api/v1/groups/{id}/members": ("group.member_added", joining),
    "DELETE /api/v1/groups/{id}/members/{user_id}": ("group.member_removed", on(membership, "DELETE")),
    "PUT /api/v1/configs/{key}": ("config.changed", configured("PUT", SETTING, {"value": 61})),
    "DELETE /api/v1/configs/{key}": ("config.changed", configured("DELETE", SETTING)),
    "PATCH /api/v1/configs": (
        "config.changed",
        configured("PATCH", "/api/v1/configs", {"values": {"limits.failed_authentications_per_minute": 61}}),
    ),
    "POST /api/v1/configs/import": (
        "config.changed",
        configured("POST", "/api/v1/configs/import"),
    ),
    "POST /api/v1/models": ("model.imported", import_),
    "PATCH /api/v1/models/{id}": ("model.updated", on(lambda _: MINILM, "PATCH", body={"pinned": False})),
    "DELETE /api/v1/models/{id}": ("model.removed", on(imported, "DELETE")),
    "POST /api/v1/models/{id}/load": ("model.load_requested", on(lambda _: MINILM, "POST", "/load")),
    "POST /api/v1/models/{id}/unload": ("model.unloaded", unloaded),
    "POST /api/v1/oauth/clients": (
        "oauth_client.created",
        lambda api: lambda: api.ask("POST", "/api/v1/oauth/clients", CLIENT),
    ),
    "PATCH /api/v1/oauth/clients/{id}": ("oauth_client.updated", on(client, "PATCH", body={"name": "renamed"})),
    "DELETE /api/v1/oauth/clients/{id}": ("oauth_client.deleted", on(client, "DELETE")),
    "POST /api/v1/oauth/clients/{id}/rotate-secret": (
        "oauth_client.secret_rotated",
        on(client, "POST", "/rotate-secret"),
    ),
    "DELETE /api/v1/me/authorizations/{id}": ("authorization.revoked", on(authorization, "DELETE")),
    "POST /oauth/authorize": ("authorization.granted", consented),
    "POST /oauth/revoke": ("authorization.revoked", token_revoked),
    "POST /oauth/device": ("authorization.granted", device_allowed),
    "POST /api/v1/assistants": ("assistant.created", making(ASSISTANTS, {})),
    "PATCH /api/v1/assistants/{id}": (
        "assistant.updated",
        on(possession(ASSISTANTS, {}), "PATCH", body={"model": "gpt-4"}),
    ),
    "DELETE /api/v1/assistants/{id}": ("assistant.deleted", on(possession(ASSISTANTS, {}), "DELETE")),
    "POST /api/v1/tools": ("tool.created", making(TOOLS, TOOL)),
    "POST /api/v1/tools/import": ("tool.created", import_tools),
    "PATCH /api/v1/tools/{id}": ("tool.updated", on(possession(TOOLS, TOOL), "PATCH", body={"description": "d"})),
    "DELETE /api/v1/tools/{id}": ("tool.deleted", on(possession(TOOLS, TOOL), "DELETE")),
    "POST /api/v1/tools/{id}/invoke": (
        "tool.invoked",
        on(possession(TOOLS, TOOL), "POST", "/invoke", {"arguments": {"expression": "2 + 2"}}),
    ),
    "POST /api/v1/prompts": ("prompt.created", making(PROMPTS, PROMPT)),
    "PATCH /api/v1/prompts/{id}": ("prompt.updated", on(possession(PROMPTS, PROMPT), "PATCH", body={"tags": ["t"]})),
    "DELETE /api/v1/prompts/{id}": ("prompt.deleted", on(possession(PROMPTS, PROMPT), "DELETE")),
    **knowledge_requests.RECIPES,
    "POST /sign-in": ("session.opened", sign_in),
    "POST /sign-in/{token}": ("session.opened", redeem),
    "POST /sign-out": ("session.ended", sign_out),
    **account_requests.RECIPES,
    **webhook_requests.RECIPES,
    "PUT /api/v1/maintenance": (
        "maintenance.ended",
        on(lambda _: "/api/v1/maintenance", "PUT", body={"enabled": False}),
    ),
    "POST /maintenance": ("maintenance.ended", maintained),
}
"""For each route that changes something: the action that its row names, and how to make it succeed once."""


def test_every_route_that_changes_something_is_tried_here_or_says_why_it_leaves_no_row() -> None:
    assert {name(route) for route in CHANGING} == set(RECIPES)


@pytest.mark.parametrize("route", [route for route in CHANGING if name(route) in RECIPES], ids=name)
def test_a_change_leaves_a_row_that_says_who_and_what(api: Running, route: Route) -> None:
    action, prepare = RECIPES[name(route)]
    ask = prepare(api)
    before = newest(api.appliance.store)
    answer = ask()
    assert answer.status < 400, answer.body
    with api.appliance.store.read() as db:
        found = [row for row in rows(db, before) if row.action == action and row.actor.user_id is not None]
    assert len(found) == 1
    assert found[0].outcome == "success"
    assert found[0].actor.ip == "127.0.0.1"
    own = name(route) in account_requests.RECIPES
    assert found[0].actor.user_id == (account_requests.Person.latest if own else me(api)["id"])
    assert found[0].actor.key_id == (me(api)["key_id"] if route.path.startswith("/api/") else None)
    assert found[0].target.id is not None


def me(api: Running) -> dict[str, str]:
    shown: dict[str, str] = api.ask("GET", "/api/v1/me").json
    return shown


@pytest.mark.parametrize("route", [route for route in CHANGING if route.writes], ids=name)
def test_a_refused_change_leaves_none(api: Running, route: Route) -> None:
    before = newest(api.appliance.store)
    missing = route.path.replace("{id}", "none").replace("{token}", "none")
    api.ask(route.method, missing, {"unknown": 1} if route.body else None)
    with api.appliance.store.read() as db:
        assert not [row for row in rows(db, before) if row.outcome == "success"]
