"""P23: every route × everybody: the outcome that its row declares, and nothing of others' anywhere.

What a route answers to whom is not written here: it follows from the permission in the route's row and from the rights
that each caller holds. Whose the things are that a path with an id leads to is declared in `tests.support.access`.
"""

from __future__ import annotations

import re

import pytest

from secureai_appliance.accounts import groups, keys, users
from secureai_appliance.accounts.callers import operator
from secureai_appliance.accounts.groups import GroupCreate
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.permissions import Permissions
from secureai_appliance.accounts.user_fields import UserCreate
from secureai_appliance.web.route import Access, Route
from secureai_appliance.web.routes import route_table
from tests.support.access import ALLOWED, NARROW, OWNED, RIGHTS, owned_path
from tests.support.oauth import register, session_of
from tests.support.running import Response, Running

ROUTES = route_table()


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.fixture(scope="module")
def callers(api: Running) -> dict[str, str | None]:
    """A key of each, None for the guest."""
    made: dict[str, str | None] = {"guest": None, "admin": api.key}
    with api.appliance.store.transaction() as tx:
        root = operator("test")
        changed = Permissions(granted=["usage:read"], denied=["models:read"])
        group = groups.create(tx, root, GroupCreate(name="matrix", permissions=changed)).id
        for who, role, own in (
            ("user", "user", {}),
            ("other user", "user", {}),
            ("group member", "user", {"groups": [group]}),
            ("denied user", "user", {"permissions": Permissions(denied=["keys:write"])}),
            ("auditor", "auditor", {}),
        ):
            email = f"{who.replace(' ', '-')}@matrix.example"
            user = users.add(tx, root, UserCreate(email=email, name=who, role=role, **own))  # type: ignore[arg-type]
            made[who] = keys.create(tx, users.caller_of(tx, user.id), KeyCreate(name="matrix")).key
    made["narrow key"] = api.ask("POST", "/api/v1/keys", {"name": "narrow", "scopes": [NARROW]}).json["key"]
    client = register(api, scopes=[NARROW])
    made["narrow token"] = client.tokens(session_of(api, "admin@localhost"), scope=NARROW)["access_token"]
    return made


@pytest.fixture(scope="module")
def user_id(api: Running, callers: dict[str, str | None]) -> str:
    """Of the user that things belong to."""
    return str(api.ask("GET", "/api/v1/me", key=callers["user"]).json["id"])


def ask(api: Running, route: Route, found: str, key: str | None, body: object) -> Response:
    path = re.sub(r"\{\w+\}", found, route.path, count=1)
    # what a page sends comes from a page of ours
    headers = {"Origin": api.appliance.address} if route.page else {}
    return api.ask(
        route.method, re.sub(r"\{\w+\}", "none", path), body if route.body else None, key=key, headers=headers
    )


def same(answer: Response) -> bytes:
    """The body without the request's own id."""
    return re.sub(rb"req-\w+", b"req", answer.body)


@pytest.mark.parametrize("who", RIGHTS)
@pytest.mark.parametrize("route", ROUTES, ids=name)
def test_a_route_answers_each_as_its_row_declares(
    api: Running, callers: dict[str, str | None], route: Route, who: str
) -> None:
    # an empty body and an id that is nothing: whoever is let in changes nothing
    answer = ask(api, route, "none", callers[who], {})
    if route.access is Access.PUBLIC:
        # who asks makes no difference
        assert answer.status == ask(api, route, "none", None, {}).status
    elif route.page:
        # keys don't open pages
        assert (answer.status, answer.headers["location"][:8]) == (303, "/sign-in")
    elif who == "guest":
        assert answer.status == 401
    elif isinstance(route.access, str) and route.access not in RIGHTS[who]:
        assert answer.status == 403
        assert answer.json["error"]["details"] == {"permission": route.access}
    else:
        assert answer.status not in {401, 403}


@pytest.mark.parametrize("who", [who for who in RIGHTS if who not in {"guest", "user"}])
@pytest.mark.parametrize("route", [route for route in ROUTES if owned_path(route)], ids=name)
def test_what_is_another_users_cannot_be_told_from_what_is_missing(
    api: Running, callers: dict[str, str | None], user_id: str, route: Route, who: str
) -> None:
    theirs = OWNED[owned_path(route) or ""](api, user_id)
    foreign = ask(api, route, theirs, callers[who], route.example or {})
    missing = ask(api, route, "none", callers[who], route.example or {})
    if (who, route.method, route.path) in ALLOWED:
        assert foreign.status == ALLOWED[who, route.method, route.path]
        assert missing.status == 404
        return
    assert foreign.status == missing.status == (404 if route.access in RIGHTS[who] else 403)
    assert same(foreign) == same(missing)
    assert foreign.headers.get("etag") is None
    # and nothing was done to it
    collection = (owned_path(route) or "").rpartition("/")[0]
    assert theirs in api.ask("GET", f"{collection}?page_size=100", key=callers["user"]).body.decode()


@pytest.mark.parametrize("who", [who for who in RIGHTS if who not in {"guest", "user"}])
@pytest.mark.parametrize("path", OWNED)
def test_no_list_holds_or_counts_what_is_another_users(
    api: Running, callers: dict[str, str | None], user_id: str, path: str, who: str
) -> None:
    collection = path.rpartition("/")[0]
    before = api.ask("GET", f"{collection}?page_size=100", key=callers[who])
    theirs = OWNED[path](api, user_id)
    after = api.ask("GET", f"{collection}?page_size=100", key=callers[who])
    assert theirs not in after.body.decode()
    assert same(after) == same(before)
