"""`/knowledge` over real sockets."""

from __future__ import annotations

import pytest

from tests.support.running import Running

BASES = "/api/v1/knowledge"


@pytest.fixture(scope="module")
def people(api: Running) -> dict[str, tuple[str, str]]:
    """Ann, Bob and Cyd: id and key."""
    found = {}
    for name in ("ann", "bob", "cyd"):
        key = api.make_user(f"{name}@knowledge.example")
        found[name] = (api.ask("GET", "/api/v1/me", key=key).json["id"], key)
    return found


def test_a_base_lives_through_create_show_list_patch_and_delete(api: Running) -> None:
    made = api.ask("POST", BASES, {"name": "Werkstatt: Bremsen", "description": "All about brakes"})
    assert made.status == 201, made.body
    base = made.json
    assert (base["slug"], base["status"], base["document_count"]) == ("werkstatt-bremsen", "ready", 0)
    assert base["embedding_model"] == "all-minilm-l6-v2"
    assert base["chunking"] == {"size": 256, "overlap": 32}
    assert api.ask("GET", f"{BASES}/werkstatt-bremsen").json == base
    assert [found["id"] for found in api.ask("GET", f"{BASES}?q=brakes").json["data"]] == [base["id"]]
    changed = api.ask("PATCH", f"{BASES}/{base['id']}", {"chunking": {"size": 128, "overlap": 16}, "name": "Brakes"})
    assert changed.json["chunking"] == {"size": 128, "overlap": 16}
    assert changed.json["name"] == "Brakes"
    assert api.ask("DELETE", f"{BASES}/{base['id']}").status == 204
    assert api.ask("GET", f"{BASES}/{base['id']}").status == 404


def test_a_name_or_slug_is_given_once(api: Running) -> None:
    first = api.ask("POST", BASES, {"name": "Only one"}).json
    for body in ({"name": "Only one"}, {"name": "Another", "slug": "only-one"}):
        again = api.ask("POST", BASES, body)
        assert (again.status, again.json["error"]["details"]["id"]) == (409, first["id"])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"name": " x"}, 400, "name"),
        ({"name": "x", "slug": "No Slug"}, 400, "slug"),
        ({"name": "x", "embedding_model": "gpt-4"}, 422, None),
        ({"name": "x", "embedding_model": "unheard-of"}, 404, None),
        ({"name": "x", "chunking": {"size": 600}}, 400, "chunking"),
        ({"name": "x", "chunking": {"size": 100, "overlap": 60}}, 400, "chunking"),
        ({"name": "x", "shares": [{"user_id": "usr-none"}]}, 400, "shares.0.user_id"),
    ],
)
def test_what_a_base_cannot_be_is_said(api: Running, body: dict[str, object], status: int, field: str | None) -> None:
    answer = api.ask("POST", BASES, body)
    assert (answer.status, answer.json["error"]["details"].get("field")) == (status, field)


def test_a_base_is_seen_by_those_it_is_shared_with_and_changed_by_those_who_may(
    api: Running, people: dict[str, tuple[str, str]]
) -> None:
    (_, ann), (bob_id, bob), (_, cyd) = people["ann"], people["bob"], people["cyd"]
    shares = [{"user_id": bob_id, "access": "read"}]
    base = api.ask("POST", BASES, {"name": "Ours", "visibility": "shared", "shares": shares}, key=ann).json
    path = f"{BASES}/{base['id']}"
    assert base["shares"] == [{"user_id": bob_id, "group_id": None, "access": "read"}]
    assert api.ask("GET", path, key=bob).json["shares"] is None
    assert api.ask("GET", path, key=cyd).status == api.ask("GET", path).status == 404
    assert base["id"] not in {seen["id"] for seen in api.ask("GET", BASES, key=cyd).json["data"]}
    assert api.ask("PATCH", path, {"description": "x"}, key=bob).status == 403
    assert api.ask("PATCH", path, {"description": "x"}, key=cyd).status == 404
    shares[0]["access"] = "write"
    assert api.ask("PATCH", path, {"shares": shares}, key=ann).status == 200
    assert api.ask("PATCH", path, {"description": "x"}, key=bob).json["description"] == "x"
    assert api.ask("PATCH", path, {"name": "Mine"}, key=bob).status == 403
    assert api.ask("DELETE", path, key=bob).status == 403
    assert api.ask("PATCH", path, {"visibility": "private"}, key=ann).status == 200
    assert api.ask("GET", path, key=bob).status == 404
