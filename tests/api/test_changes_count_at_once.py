"""P22: what happens to a user counts at their next request, whatever they come with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from secureai_appliance.web.dispatch import Dispatcher
from tests.support.account_requests import Person
from tests.support.oauth import register, session_of
from tests.support.running import Response, Running

Ask = Callable[[], Response]
READS_USERS = "/api/v1/users?page_size=1"


@pytest.fixture
def person(api: Running) -> Person:
    made = Person(api)
    assert api.ask("PATCH", f"/api/v1/users/{made.id}", {"role": "auditor"}).status == 200
    return made


def by_key(api: Running, person: Person) -> Ask:
    key = person.key()
    return lambda: api.ask("GET", READS_USERS, key=key)


def by_token(api: Running, person: Person) -> Ask:
    client = register(api, scopes=["users:read"])
    token = client.tokens(session_of(api, person.email), scope="users:read")["access_token"]
    return lambda: api.ask("GET", READS_USERS, key=token)


def by_refresh(api: Running, person: Person) -> Ask:
    client = register(api, scopes=["users:read"])
    held = client.tokens(session_of(api, person.email), scope="users:read")

    def ask() -> Response:
        answer = client.refresh(held["refresh_token"])
        if answer.status == 200:
            held.update(answer.json)
        return answer

    return ask


def by_service(api: Running, person: Person) -> Ask:
    client = register(
        api, scopes=["users:read"], redirect_uris=[], grant_types=["client_credentials"], user_id=person.id
    )
    return lambda: client.post("/oauth/token", {"grant_type": "client_credentials"})


def by_session(api: Running, person: Person) -> Ask:
    browser = session_of(api, person.email)
    client = register(api, scopes=["users:read"])
    # asking a page what the user may pass on: nothing is left of it after a demotion
    return lambda: api.ask("GET", client.authorize_url(scope="users:read"), key=None, headers=browser)


WAYS = [by_key, by_token, by_refresh, by_service, by_session]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", ["disabled", "deleted", "demoted", "denied"])
def test_a_change_of_a_user_counts_at_the_next_request(
    api: Running, person: Person, way: Callable[[Running, Person], Ask], change: str
) -> None:
    ask = way(api, person)
    assert ask().status == 200
    path = f"/api/v1/users/{person.id}"
    if change == "deleted":
        assert api.ask("DELETE", path).status == 204
    else:
        body = {
            "disabled": {"disabled": True},
            "demoted": {"role": "user"},
            "denied": {"permissions": {"denied": ["users:read"]}},
        }
        assert api.ask("PATCH", path, body[change]).status == 200
    answer = ask()
    gone = change in {"disabled", "deleted"}
    if way is by_session:
        # to the sign-in page, or back to the program, which gets nothing
        assert answer.status == 303
        assert ("/sign-in" if gone else "error=invalid_scope") in answer.headers["location"]
    elif way in {by_key, by_token}:
        assert answer.status == (401 if gone else 403)
    else:
        assert answer.status in {400, 401}
        assert "access_token" not in answer.json


@pytest.mark.parametrize("way", WAYS)
def test_what_disabling_ended_stays_ended_but_for_keys_and_clients(
    api: Running, person: Person, way: Callable[[Running, Person], Ask]
) -> None:
    ask = way(api, person)
    path = f"/api/v1/users/{person.id}"
    for disabled in (True, False):
        assert api.ask("PATCH", path, {"disabled": disabled}).status == 200
    assert (ask().status == 200) == (way in {by_key, by_service})


@pytest.mark.parametrize("fields", [["role"], ["disabled"], ["role", "disabled"], []])
def test_a_change_to_what_is_so_already_is_none_and_no_defect(api: Running, person: Person, fields: list[str]) -> None:
    path = f"/api/v1/users/{person.id}"
    before = api.ask("GET", path).json
    changed = api.ask("PATCH", path, {field: before[field] for field in fields})
    assert (changed.status, changed.json) == (200, {**before, "updated_at": changed.json.get("updated_at")})


def test_what_a_user_asked_for_who_goes_meanwhile_is_not_done(
    api: Running, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, decode = person.key(), Dispatcher._decode

    def delete_first(self: Dispatcher, *arguments: Any) -> Any:
        with api.appliance.store.transaction() as tx:
            tx.run("UPDATE users SET disabled = 1 WHERE id = ?", person.id)
        return decode(self, *arguments)

    monkeypatch.setattr(Dispatcher, "_decode", delete_first)
    assert api.ask("POST", "/api/v1/keys", {"name": "late"}, key=key).status == 401
