"""What administrators do for users who can't sign in: a link, and an end of their second factor."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from secureai_appliance.accounts import second_factors
from secureai_appliance.core.ids import random_text
from tests.support.account_requests import Person
from tests.support.running import Running


def make(api: Running, **fields: Any) -> str:
    body = {"email": f"{random_text(8)}@letting.example", "name": "Ada", **fields}
    return str(api.ask("POST", "/api/v1/users", body).json["id"])


def key(api: Running, **bounds: Any) -> str:
    return str(api.ask("POST", "/api/v1/keys", {"name": "bound", **bounds}).json["key"])


def test_a_link_is_shown_once_and_signs_its_user_in(api: Running) -> None:
    user = make(api)
    headers = {"Idempotency-Key": random_text(12)}
    made = api.ask("POST", f"/api/v1/users/{user}/sign-in-link", headers=headers)
    assert (made.status, made.json["user_id"]) == (201, user)
    url = made.json["url"]
    assert url.startswith(f"{api.appliance.address}/sign-in/")
    again = api.ask("POST", f"/api/v1/users/{user}/sign-in-link", headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert "url" not in again.json
    opened = api.ask("POST", urlsplit(url).path, key=None, headers={"Origin": api.appliance.address})
    assert (opened.status, opened.headers["location"]) == (303, "/")
    sessions = api.ask("GET", "/api/v1/auditlogs?action=session.opened&page_size=1").json["data"]
    assert sessions[0]["actor"]["user_id"] == user


@pytest.mark.parametrize(
    "bounds",
    [
        {"scopes": ["users:admin"]},
        {"expires_at": "2999-01-01"},
        {"allowed_ips": ["127.0.0.1"]},
        {"allowed_models": ["default"]},
    ],
    ids=str,
)
def test_a_bound_key_gets_rid_of_its_bounds_by_no_link(api: Running, bounds: dict[str, Any]) -> None:
    bound, me = key(api, **bounds), api.ask("GET", "/api/v1/me").json["id"]
    for user in (me, make(api)):
        assert api.ask("POST", f"/api/v1/users/{user}/sign-in-link", key=bound).status == 403


def test_whoever_administers_users_lets_in_nobody_with_more_rights(api: Running) -> None:
    person = Person(api)
    granted = {"permissions": {"granted": ["users:admin", "users:read"]}}
    assert api.ask("PATCH", f"/api/v1/users/{person.id}", granted).status == 200
    own = person.key()
    admin = api.ask("GET", "/api/v1/me").json["id"]
    for user in (admin, make(api, role="auditor")):
        assert api.ask("POST", f"/api/v1/users/{user}/sign-in-link", key=own).status == 403
        assert api.ask("DELETE", f"/api/v1/users/{user}/second-factor", key=own).status == 403
    assert api.ask("POST", f"/api/v1/users/{make(api)}/sign-in-link", key=own).status == 201


@pytest.mark.parametrize(
    ("field", "value"), [("tier", "enterprise"), ("limits", {"requests_per_minute": None}), ("limits", {})]
)
def test_whoever_administers_users_raises_everybodys_limits_but_their_own(api: Running, field: str, value: Any) -> None:
    person = Person(api)
    granted = {"permissions": {"granted": ["users:admin", "users:read"]}}
    assert api.ask("PATCH", f"/api/v1/users/{person.id}", granted).status == 200
    own, path = person.key(), f"/api/v1/users/{person.id}"
    refused = api.ask("PATCH", path, {field: value}, key=own)
    assert (refused.status, refused.json["error"]["message"]) == (
        *(403, f"Only an administrator changes their own {field}."),
    )
    shown = api.ask("GET", path, key=own).json
    assert (shown["tier"], shown["limits"]) == ("standard", None)
    # the whole form, sent back as it was, changes nothing
    assert api.ask("PATCH", path, {"name": "Ada", field: shown[field]}, key=own).status == 200
    assert api.ask("PATCH", f"/api/v1/users/{make(api)}", {field: value}, key=own).status == 200
    me = api.ask("GET", "/api/v1/me").json
    assert api.ask("PATCH", f"/api/v1/users/{me['id']}", {"tier": me["tier"], "limits": None}).status == 200


def test_no_link_for_a_disabled_or_missing_user(api: Running) -> None:
    user = make(api)
    api.ask("PATCH", f"/api/v1/users/{user}", {"disabled": True})
    assert api.ask("POST", f"/api/v1/users/{user}/sign-in-link").status == 409
    assert api.ask("POST", "/api/v1/users/usr-none/sign-in-link").status == 404


def test_a_second_factor_is_taken_away_with_its_sessions(api: Running) -> None:
    person = Person(api)
    person.recovery_code()
    assert api.ask("DELETE", f"/api/v1/users/{person.id}/second-factor", headers={"If-Match": '"old"'}).status == 412
    assert api.ask("DELETE", f"/api/v1/users/{person.id}/second-factor").status == 204
    with api.appliance.store.read() as db:
        assert not second_factors.is_on(db, person.id)
        assert second_factors.recovery_codes_left(db, person.id) == 0
    assert person.send("/account/keys", name="k").status == 303  # to the sign-in
    assert api.ask("DELETE", f"/api/v1/users/{person.id}/second-factor").status == 404
