from __future__ import annotations

from secureai_appliance.accounts import sessions, users
from tests.support.running import Running


def open_session(api: Running, email: str) -> None:
    with api.appliance.store.transaction() as tx:
        user_id = users.by_email(tx, email).id
        sessions.open_(tx, user_id, "link", sessions.Browser("192.0.2.8", "Firefox"))


def test_sessions_are_listed_and_ended_by_their_owner_alone(api: Running) -> None:
    eve, mallory = (api.make_user(f"{name}@sessions.test") for name in ("eve", "mallory"))
    open_session(api, "eve@sessions.test")
    listed = api.ask("GET", "/api/v1/me/sessions", key=eve).json
    assert listed["total"] == 1
    found = listed["data"][0]
    assert (found["opened_by"], found["address"], found["agent"]) == ("link", "192.0.2.8", "Firefox")
    assert "secret" not in str(found)
    assert api.ask("GET", "/api/v1/me/sessions", key=mallory).json["total"] == 0
    path = f"/api/v1/me/sessions/{found['id']}"
    missing = api.ask("DELETE", "/api/v1/me/sessions/ses-none", key=mallory).json["error"]
    others = api.ask("DELETE", path, key=mallory).json["error"]
    assert {**others, "request_id": ""} == {**missing, "request_id": ""}
    assert api.ask("DELETE", path, key=eve).status == 204
    assert api.ask("DELETE", path, key=eve).status == 404
