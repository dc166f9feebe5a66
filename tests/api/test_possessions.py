"""What holds for prompts, assistants and tools alike: lists, tags, sharing, names (P12, P13, P14, P23)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.people import Person, group_of, person
from tests.support.running import Running

KINDS: dict[str, dict[str, Any]] = {
    "/assistants": {},
    "/prompts": {"content": "Say {{what}}"},
    "/tools": {"type": "builtin", "builtin": "calculator"},
}
CHANGE: dict[str, Any] = {"description": "changed"}


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ann(api: Running) -> Person:
    return person(api, "admin")


@pytest.fixture
def bob(api: Running) -> Person:
    return person(api)


def ids(by: Person, path: str, query: str = "") -> list[str]:
    """What a list shows; its total must say the same."""
    page = by.ask("GET", f"{path}?page_size=100&{query}").json
    assert page["total"] == len(page["data"])
    return [item["id"] for item in page["data"]]


def test_it_lives_through_create_show_list_change_and_delete(ann: Person, path: str) -> None:
    made = ann.make(path, KINDS[path])
    assert ann.ask("GET", f"{path}/{made['id']}").json == made
    assert made["id"] in ids(ann, path)
    changed = ann.ask("PATCH", f"{path}/{made['id']}", CHANGE).json
    told = [{**function, **CHANGE} for function in made.get("functions", [])]
    assert changed == {
        **made,
        **CHANGE,
        "updated_at": changed["updated_at"],
        **({"functions": told} if told else {}),
    }
    assert ann.ask("DELETE", f"{path}/{made['id']}").status == 204
    assert ann.ask("GET", f"{path}/{made['id']}").status == 404
    assert made["id"] not in ids(ann, path)


def test_what_is_private_is_the_same_404_as_what_is_missing(ann: Person, bob: Person, path: str) -> None:
    bob = person(bob.api, "admin")
    made = ann.make(path, KINDS[path])
    for method, body in (("GET", None), ("PATCH", CHANGE), ("DELETE", None)):
        foreign = bob.ask(method, f"{path}/{made['id']}", body)
        missing = bob.ask(method, f"{path}/none", body)
        assert foreign.status == missing.status == 404
        assert foreign.json["error"]["message"] == missing.json["error"]["message"]
    assert made["id"] not in ids(bob, path)
    assert made["id"] not in ids(bob, path, f"q={made['name']}")


def test_what_is_everyones_is_read_by_all_and_changed_by_its_owner_alone(ann: Person, bob: Person, path: str) -> None:
    bob = person(bob.api, "admin")
    made = ann.make(path, KINDS[path], visibility="everyone")
    shown = bob.ask("GET", f"{path}/{made['id']}").json
    assert shown == {**made, "shares": None}
    assert made["id"] in ids(bob, path, "visibility=everyone")
    for method, body in (("PATCH", CHANGE), ("DELETE", None)):
        assert bob.ask(method, f"{path}/{made['id']}", body).status == 403
    assert ann.ask("PATCH", f"{path}/{made['id']}", {"visibility": "private"}).status == 200
    assert bob.ask("GET", f"{path}/{made['id']}").status == 404


def test_a_group_reads_and_who_may_write_changes_all_but_names_and_shares(ann: Person, path: str) -> None:
    reader, writer, stranger = (person(ann.api, "admin") for _ in range(3))
    shares = [{"group_id": group_of(ann.api, ann, reader)}, {"user_id": writer.id, "access": "write"}]
    made = ann.make(path, KINDS[path], visibility="shared", shares=shares)
    assert [share["access"] for share in made["shares"]] == ["read", "write"]
    where = f"{path}/{made['id']}"
    assert [who.ask("GET", where).status for who in (reader, writer, stranger)] == [200, 200, 404]
    assert [who.ask("PATCH", where, CHANGE).status for who in (reader, writer, stranger)] == [403, 200, 404]
    for owners in ({"name": "other"}, {"visibility": "everyone"}, {"shares": []}):
        assert writer.ask("PATCH", where, owners).status == 403
    assert writer.ask("DELETE", where).status == 403
    assert ann.ask("PATCH", where, {"shares": []}).status == 200
    assert reader.ask("GET", where).status == 404


def test_shares_that_cant_be_are_refused_by_name(ann: Person, path: str) -> None:
    for fields, field in (
        ({"visibility": "shared", "shares": [{"user_id": "usr-none"}]}, "shares.0.user_id"),
        ({"visibility": "shared", "shares": [{}]}, "shares.0"),
        ({"visibility": "private", "shares": [{"user_id": ann.id}]}, "shares"),
    ):
        answer = ann.ask("POST", path, {"name": "shares", **KINDS[path], **fields})
        assert (answer.status, answer.json["error"]["details"]["field"]) == (400, field)
    assert not ids(ann, path, "name=shares")


def test_a_name_that_the_owner_or_everyone_has_is_409_and_anothers_is_free(ann: Person, path: str) -> None:
    bob = person(ann.api, "admin")
    mine = ann.make(path, KINDS[path])
    twice = ann.ask("POST", path, {**KINDS[path], "name": mine["name"]})
    assert twice.status == 409
    assert twice.json["error"]["details"] == {"field": "name", "constraint": "unique", "id": mine["id"]}
    theirs = bob.make(path, KINDS[path], name=mine["name"])
    assert bob.ask("PATCH", f"{path}/{theirs['id']}", {"visibility": "everyone"}).status == 200
    assert ann.ask("PATCH", f"{path}/{mine['id']}", {"visibility": "everyone"}).status == 409
    bob.ask("DELETE", f"{path}/{theirs['id']}")
    other = ann.make(path, KINDS[path])
    assert ann.ask("PATCH", f"{path}/{other['id']}", {"name": mine["name"]}).status == 409
    assert ann.ask("PATCH", f"{path}/{mine['id']}", {"name": mine["name"]}).status == 200


def test_a_stale_if_match_changes_nothing(ann: Person, path: str) -> None:
    where = f"{path}/{ann.make(path, KINDS[path])['id']}"
    tag = ann.ask("GET", where).headers["etag"]
    assert ann.ask("GET", where, headers={"If-None-Match": tag}).status == 304
    assert ann.ask("PATCH", where, CHANGE, headers={"If-Match": tag}).status == 200
    for method, body in (("PATCH", {"description": "late"}), ("DELETE", None)):
        assert ann.ask(method, where, body, headers={"If-Match": tag}).status == 412
    assert ann.ask("GET", where).json["description"] == "changed"


def test_a_repeated_create_makes_one(ann: Person, path: str) -> None:
    body = {**KINDS[path], "name": "once"}
    first, again = (ann.ask("POST", path, body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    assert ids(ann, path, "name=once") == [first.json["id"]]


@pytest.mark.parametrize("size", ["0", "101", "-1", "x"])
def test_a_page_size_out_of_bounds_is_400(ann: Person, path: str, size: str) -> None:
    assert ann.ask("GET", f"{path}?page_size={size}").status == 400


def walked(by: Person, path: str) -> Iterator[str]:
    query = "page_size=2&q=walk&sort=name"
    cursor: str | None = ""
    while cursor is not None:
        answer = by.ask("GET", f"{path}?{query}" + (f"&cursor={cursor}" if cursor else "")).json
        assert answer["total"] == 5
        yield from (item["name"] for item in answer["data"])
        cursor = answer["next"]


def test_a_walk_in_any_order_meets_each_once(ann: Person, path: str) -> None:
    for number in (3, 1, 5, 2, 4):
        ann.make(path, KINDS[path], name=f"walk{number}")
    ann.make(path, KINDS[path], name="other")
    assert list(walked(ann, path)) == [f"walk{number}" for number in range(1, 6)]
