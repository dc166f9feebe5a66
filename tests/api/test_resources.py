"""`/models`, `/keys`, `/me` over real sockets."""

from __future__ import annotations

import pytest

from tests.support.running import Running
from tests.support.schemas import validate


def test_models_are_openais_list_and_ours_in_one(api: Running) -> None:
    answer = api.ask("GET", "/api/v1/models?page_size=100").json
    validate(answer, "ListModelsResponse")
    assert (answer["object"], answer["page"], answer["page_size"]) == ("list", 1, 100)
    # and those that other tests left
    assert answer["total"] == len(answer["data"]) >= 7
    by_id = {model["id"]: model for model in answer["data"]}
    assert by_id["gpt-4"]["alias_of"] == "smollm2-135m-instruct"
    assert by_id["smollm2-135m-instruct"]["alias_of"] is None
    assert by_id["all-minilm-l6-v2"]["capabilities"] == ["embedding"]


def test_a_model_tells_what_it_is(api: Running) -> None:
    model = api.ask("GET", "/api/v1/models/smollm2-135m-instruct").json
    validate(model, "Model")
    assert model["context_length"] == 1024  # what the fixture allows
    assert model["parameters"] > 100_000_000
    assert model["quantization"] == "Q4_1"
    assert len(model["sha256"]) == 64
    assert model["status"] in {"available", "loading", "loaded"}


def test_an_alias_is_found_under_its_name(api: Running) -> None:
    model = api.ask("GET", "/api/v1/models/gpt-4").json
    assert (model["id"], model["alias_of"]) == ("gpt-4", "smollm2-135m-instruct")


def test_the_queue_of_a_model_is_a_resource_of_its_own(api: Running) -> None:
    assert set(api.ask("GET", "/api/v1/models/default/queue").json) == {"running", "waiting", "slots"}


def test_a_key_lives_through_create_show_list_patch_and_delete(api: Running) -> None:
    created = api.ask("POST", "/api/v1/keys", {"name": "pipeline", "scopes": ["models:read"]})
    assert created.status == 201
    secret, key_id = created.json["key"], created.json["id"]
    shown = api.ask("GET", f"/api/v1/keys/{key_id}")
    assert "key" not in shown.json
    assert shown.json["prefix"] == secret[:7]
    assert key_id in [key["id"] for key in api.ask("GET", "/api/v1/keys?page_size=100").json["data"]]
    assert api.ask("GET", "/api/v1/models", key=secret).status == 200
    assert api.ask("GET", "/api/v1/keys", key=secret).status == 403
    renamed = api.ask("PATCH", f"/api/v1/keys/{key_id}", {"name": "renamed"})
    assert renamed.json["name"] == "renamed"
    gone = api.ask("DELETE", f"/api/v1/keys/{key_id}")
    assert (gone.status, gone.body) == (204, b"")
    assert api.ask("GET", f"/api/v1/keys/{key_id}").status == 404
    assert api.ask("GET", "/api/v1/models", key=secret).status == 401


def test_a_stale_if_match_changes_nothing(api: Running) -> None:
    key_id = api.ask("POST", "/api/v1/keys", {"name": "first"}).json["id"]
    tag = api.ask("GET", f"/api/v1/keys/{key_id}").headers["etag"]
    assert api.ask("PATCH", f"/api/v1/keys/{key_id}", {"name": "second"}, headers={"If-Match": tag}).status == 200
    for method, body in (("PATCH", {"name": "third"}), ("DELETE", None)):
        assert api.ask(method, f"/api/v1/keys/{key_id}", body, headers={"If-Match": tag}).status == 412
    assert api.ask("GET", f"/api/v1/keys/{key_id}").json["name"] == "second"


def test_an_etag_spares_the_body(api: Running) -> None:
    first = api.ask("GET", "/api/v1/me")
    again = api.ask("GET", "/api/v1/me", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_a_repeated_create_makes_one_key_and_never_shows_the_secret_again(api: Running) -> None:
    headers = {"Idempotency-Key": "deploy-1"}
    first = api.ask("POST", "/api/v1/keys", {"name": "once"}, headers=headers)
    again = api.ask("POST", "/api/v1/keys", {"name": "once"}, headers=headers)
    assert (first.status, again.status) == (201, 201)
    assert again.json["id"] == first.json["id"]
    assert first.json["key"].encode() not in again.body
    assert api.ask("POST", "/api/v1/keys", {"name": "other"}, headers=headers).status == 422


def test_another_users_key_is_the_same_404_as_a_missing_one(api: Running) -> None:
    mine = api.ask("POST", "/api/v1/keys", {"name": "mine"}).json["id"]
    other = api.make_user("other@example.org")
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        foreign = api.ask(method, f"/api/v1/keys/{mine}", body, key=other)
        missing = api.ask(method, "/api/v1/keys/key-none", body, key=other)
        assert foreign.status == missing.status == 404
        assert foreign.json["error"]["message"] == missing.json["error"]["message"]
    assert mine not in str(api.ask("GET", "/api/v1/keys", key=other).json)


def test_me_is_the_caller(api: Running) -> None:
    me = api.ask("GET", "/api/v1/me").json
    assert (me["email"], me["role"], me["tier"]) == ("admin@localhost", "admin", "enterprise")
    assert "completions:create" in me["permissions"]


@pytest.mark.parametrize("path", ["/api/v1/keys", "/api/v1/models"])
@pytest.mark.parametrize("size", ["0", "101", "-1", "x"])
def test_a_page_size_out_of_bounds_is_400_on_every_list(api: Running, path: str, size: str) -> None:
    answer = api.ask("GET", f"{path}?page_size={size}")
    assert answer.status == 400
    assert answer.json["error"]["details"]["field"] == "page_size"


@pytest.mark.parametrize("walk", ["page", "cursor"])
def test_a_walk_over_all_pages_meets_every_item_once(api: Running, walk: str) -> None:
    user = api.make_user(f"{walk}@example.org")
    made = {api.ask("POST", "/api/v1/keys", {"name": f"{n}"}, key=user).json["id"] for n in range(7)}
    met: list[str] = []
    page, cursor = 1, ""
    while True:
        where = f"page={page}" if walk == "page" else f"cursor={cursor}" if cursor else ""
        answer = api.ask("GET", f"/api/v1/keys?page_size=3&sort=created_at&{where}", key=user).json
        met += [key["id"] for key in answer["data"]]
        assert answer["total"] == 8
        page, cursor = page + 1, answer["next"]
        if cursor is None:
            break
    assert len(met) == len(set(met)) == 8
    assert made < set(met)
