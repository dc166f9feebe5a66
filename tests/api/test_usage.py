"""`/usage` over real sockets: what was used is counted once, also when the client hangs up."""

from __future__ import annotations

import json
from typing import Any

from tests.support.running import Running

BODY = {"model": "gpt-4", "messages": [{"role": "user", "content": "Tell me a long story."}], "temperature": 0}


def mine(api: Running, key: str, query: str = "group_by=model") -> dict[str, Any]:
    answer = api.ask("GET", f"/api/v1/me/usage?{query}", key=key)
    assert answer.status == 200
    return {row["group"]: row for row in answer.json["data"]}


def settled(api: Running, key: str, model: str) -> dict[str, Any]:
    """The row of a model, once the request has been counted: after its last byte, in the server's own thread."""
    for _ in range(2000):
        found: dict[str, Any] | None = mine(api, key).get(model)
        if found is not None:
            return found
    raise AssertionError(f"nothing of {model} was counted")


def test_tokens_of_completions_and_embeddings_are_counted(api: Running) -> None:
    key = api.make_user("usage@example.org")
    said = api.ask("POST", "/api/v1/chat/completions", BODY | {"max_tokens": 5}, key=key).json["usage"]
    row = settled(api, key, "smollm2-135m-instruct")
    assert (row["requests"], row["prompt_tokens"], row["completion_tokens"]) == (
        1, said["prompt_tokens"], said["completion_tokens"],
    )  # fmt: skip
    used = api.ask("POST", "/api/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hello"}, key=key).json
    assert settled(api, key, "all-minilm-l6-v2")["prompt_tokens"] == used["usage"]["prompt_tokens"]


def test_a_completion_whose_client_hung_up_is_counted(api: Running) -> None:
    key = api.make_user("hung-up@example.org")
    connection = api.connect()
    connection.request(
        "POST",
        "/api/v1/chat/completions",
        json.dumps(BODY | {"stream": True}),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    told = 0
    while told < 3:
        told += answer.readline().startswith(b"data: ")
    answer.close()
    connection.close()
    row = settled(api, key, "smollm2-135m-instruct")
    assert row["requests"] == 1
    assert row["prompt_tokens"] > 10
    assert 1 <= row["completion_tokens"] < 900


def everybody(api: Running) -> list[dict[str, Any]]:
    """The rows of all pages."""
    rows: list[dict[str, Any]] = []
    page, total = 1, 1
    while len(rows) < total:
        answer = api.ask("GET", f"/api/v1/usage?group_by=user&interval=hour&page={page}").json
        rows, total, page = rows + answer["data"], answer["total"], page + 1
    return rows


def test_everybodys_usage_is_for_those_who_may_see_it(api: Running) -> None:
    key = api.make_user("curious@example.org")
    user_id = api.ask("GET", "/api/v1/me", key=key).json["id"]
    assert api.ask("GET", "/api/v1/usage", key=key).status == 403
    for _ in range(2000):
        # the answer is out before its request is counted
        if user_id in {row["group"] for row in everybody(api)}:
            break
    assert user_id in {row["group"] for row in everybody(api)}
    auditor = api.make_user("auditor-of-usage@example.org", role="auditor")
    assert api.ask("GET", "/api/v1/usage", key=auditor).status == 200
    export = api.ask("GET", "/api/v1/usage/export?group_by=user")
    assert export.headers["content-type"].startswith("text/csv")
    assert user_id in export.body.decode()


def test_a_bad_query_names_its_parameter(api: Running) -> None:
    for query, field in (
        ("from=x", "from"),
        ("group_by=x", "group_by"),
        ("page_size=0", "page_size"),
        ("to=2001-01-01", "to"),
    ):
        answer = api.ask("GET", f"/api/v1/usage?{query}")
        assert (answer.status, answer.json["error"]["details"]["field"]) == (400, field)
