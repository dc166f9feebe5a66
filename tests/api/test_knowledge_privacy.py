"""Two users, two bases: whatever one does, nothing that the other is shown changes by a byte (P23)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.core.ids import new_id, random_text
from tests.support.knowledge import ready, upload_file
from tests.support.running import Running
from tests.support.scripted import scripted
from tests.support.scripted_model import Model

BASES = "/api/v1/knowledge"
WORDS = ("brake", "fluid", "tyre", "profile", "gear", "oil", "filter", "lamp", "BP1087", "F-150", "winter", "pressure")
QUERIES = ("brake fluid", "BP1087", "winter tyre pressure", "which oil for the gear", "secret")


@pytest.fixture(scope="module")
def two(api: Running) -> list[tuple[str, str]]:
    """The keys and bases of two users."""
    found = []
    for name in ("one", "two"):
        key = api.make_user(f"{name}-{random_text(6)}@privacy.example")
        base = f"{BASES}/{api.ask('POST', BASES, {'name': 'Notes'}, key=key).json['id']}"
        found.append((key, base))
    return found


def fill(api: Running, key: str, base: str, texts: list[str]) -> None:
    for text in texts:
        assert upload_file(api, f"{base}/documents", text, key=key).status == 201
    ready(api, base, key)


def views(api: Running, key: str, base: str) -> dict[str, Any]:
    """All that a user is shown of knowledge: bodies and entity tags."""
    seen: dict[str, Any] = {}
    for path in (BASES, f"{BASES}?q=brake", "/api/v1/documents", "/api/v1/documents?q=a", base, f"{base}/documents"):
        answer = api.ask("GET", path, key=key)
        seen[path] = (answer.body, answer.headers["etag"])
    for query in QUERIES:
        for mode in ("hybrid", "vector", "keyword"):
            body = {"query": query, "mode": mode, "explain": True, "top_k": 20}
            seen[f"{query} {mode}"] = api.ask("POST", f"{base}/search", body, key=key).body
    return seen


def texts(seed: int, mark: str) -> list[str]:
    chosen = random.Random(seed)
    return [f"{mark} " + " ".join(chosen.choices(WORDS, k=30)) + "." for _ in range(4)]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_one_user_puts_in_changes_nothing_that_the_other_is_shown(
    api: Running, two: list[tuple[str, str]], seed: int
) -> None:
    (mine, my_base), (theirs, their_base) = two
    fill(api, mine, my_base, texts(seed, f"mine{seed}"))
    before = views(api, mine, my_base)
    fill(api, theirs, their_base, [*texts(seed, f"theirs{seed}"), f"secret{seed} of theirs"])
    assert views(api, mine, my_base) == before
    other = views(api, theirs, their_base)
    my_ids = {each["id"] for each in api.ask("GET", f"{my_base}/documents", key=mine).json["data"]}
    assert my_ids
    shown = str(other)
    assert f"mine{seed}" not in shown
    assert not [document for document in my_ids if document in shown]


@pytest.fixture(scope="module")
def model(api: Running) -> Iterator[str]:
    """A model that says the same to everybody."""
    with scripted(Model()) as server:
        name = new_id("m").lower()
        remote = {"base_url": f"{server.url}/v1", "model": "theirs"}
        assert api.ask("POST", "/api/v1/models", {"name": name, "remote": remote}).status == 201
        yield name


def answers(api: Running, model: str, key: str, base: str) -> dict[str, Any]:
    """What a user's questions are answered with, whole and kept, and how it was found."""
    seen: dict[str, Any] = {}
    base_id = base.rpartition("/")[2]
    for query in (*QUERIES, "Summarise the documents."):
        body = {
            **{"model": model, "store": True, "knowledge_base_ids": [base_id]},
            "messages": [{"role": "user", "content": query}],
        }
        answer = api.ask("POST", "/api/v1/chat/completions", body, key=key).json
        trace = api.ask("GET", f"{base}/traces/{answer['retrieval']['trace_id']}", key=key).json
        kept = api.ask("GET", f"/api/v1/chats/{answer['chat_id']}/messages", key=key).json["data"]
        seen[query] = {
            "citations": answer["citations"],
            "kept": kept[1]["citations"],
            "retrieval": {**answer["retrieval"], "trace_id": ""},
            "trace": {name: trace[name] for name in ("sources", "search", "outcome", "best_score", "room_tokens")},
        }
        seen[f"{query} by the other"] = trace["id"], answer["chat_id"]
    return seen


def test_no_answer_citation_chat_or_trace_of_one_shows_the_other(
    api: Running, two: list[tuple[str, str]], model: str
) -> None:
    (mine, my_base), (theirs, their_base) = two
    fill(api, mine, my_base, texts(11, "mine11"))
    first = answers(api, model, mine, my_base)
    fill(api, theirs, their_base, [*texts(12, "theirs12"), "secret12 of theirs"])
    again, other = answers(api, model, mine, my_base), answers(api, model, theirs, their_base)
    for query in (*QUERIES, "Summarise the documents."):
        assert again[query] == first[query]
        assert again[query]["kept"] == again[query]["citations"]
        shown = str(other[query])
        assert "mine" not in shown
        assert not [each["document_id"] for each in first[query]["citations"] if each["document_id"] in shown]
        # and what is one's own is nobody else's, wherever it is looked for
        trace, chat = first[f"{query} by the other"]
        for base in (my_base, their_base):
            assert api.ask("GET", f"{base}/traces/{trace}", key=theirs).status == 404
        assert api.ask("GET", f"/api/v1/chats/{chat}", key=theirs).status == 404
    base_id = my_base.rpartition("/")[2]
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "knowledge_base_ids": [base_id]}
    assert api.ask("POST", "/api/v1/chat/completions", body, key=theirs).status == 404
    document = api.ask("GET", f"{my_base}/documents", key=mine).json["data"][0]["id"]
    body["knowledge_base_ids"] = [their_base.rpartition("/")[2]]
    answer = api.ask(
        "POST", "/api/v1/chat/completions", {**body, "retrieval": {"document_ids": [document]}}, key=theirs
    ).json
    assert (answer["citations"], answer["retrieval"]["outcome"]) == ([], "not_in_documents")


def test_nothing_of_the_others_base_is_reached_by_its_ids(api: Running, two: list[tuple[str, str]]) -> None:
    (mine, my_base), (theirs, their_base) = two
    document = upload_file(api, f"{my_base}/documents", key=mine).json["id"]
    ready(api, my_base, mine)
    for method, path, body in (
        ("GET", my_base, None),
        ("GET", f"{my_base}/documents", None),
        ("GET", f"{my_base}/documents/{document}", None),
        ("GET", f"{their_base}/documents/{document}", None),
        ("GET", f"{their_base}/documents/{document}/content", None),
        ("GET", f"{their_base}/documents/{document}/chunks", None),
        ("DELETE", f"{their_base}/documents/{document}", None),
        ("POST", f"{their_base}/documents/{document}/reindex", None),
        ("POST", f"{my_base}/search", {"query": "brake"}),
    ):
        assert api.ask(method, path, body, key=theirs).status == 404
    body = {"query": "brake", "filter": {"document_ids": [document]}}
    assert api.ask("POST", f"{their_base}/search", body, key=theirs).json["data"] == []
