"""What is read to find passages counts: once, under the model that read it, in the usage and in the limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.core.ids import new_id
from tests.support.knowledge import form, ready, upload_form
from tests.support.people import Person, person
from tests.support.running import Running
from tests.support.scripted import scripted
from tests.support.scripted_model import USAGE, Model, call, calls, last, text

EMBEDDING = "all-minilm-l6-v2"
QUESTION = "Which colour has the pump?"


@pytest.fixture(scope="module")
def served(api: Running) -> Iterator[tuple[str, Model]]:
    model = Model()
    with scripted(model) as server:
        name = new_id("m").lower()
        remote = {"base_url": f"{server.url}/v1", "model": "theirs", "context_length": 8192}
        assert api.ask("POST", "/api/v1/models", {"name": name, "remote": remote}).status == 201
        yield name, model


@pytest.fixture
def model(served: tuple[str, Model]) -> Model:
    served[1].asked.clear()
    served[1].say = lambda _: text("Purple [1].")
    return served[1]


@pytest.fixture(scope="module")
def base(api: Running) -> str:
    """For everyone."""
    by = person(api)
    base_id = str(by.make("/knowledge", {"visibility": "everyone"})["id"])
    files = form(("a.txt", b"The colour of the pump is purple.", "text/plain"))
    assert upload_form(api, f"/api/v1/knowledge/{base_id}/documents", files, key=by.key).status == 201
    ready(api, f"/api/v1/knowledge/{base_id}", by.key)
    return base_id


def tokens(by: Person, query: str) -> int:
    """What an embedding of it takes; asked by another, so that it counts elsewhere."""
    other = person(by.api)
    answer = other.ask("POST", "/embeddings", {"model": "text-embedding-3-small", "input": query}).json
    return int(answer["usage"]["prompt_tokens"])


def usage(by: Person, *models: str) -> dict[str, tuple[int, int]]:
    """Requests and tokens of each model, once all of these are counted: in the server's own thread, after an answer."""
    for _ in range(2000):
        rows = {row["group"]: row for row in by.ask("GET", "/me/usage?group_by=model").json["data"]}
        if rows.keys() >= set(models):
            return {name: (rows[name]["requests"], rows[name]["total_tokens"]) for name in models}
    raise AssertionError(f"only {rows} were counted")


def counted(by: Person, wanted: int) -> None:
    """So many tokens are counted in the limits."""
    found = -1
    for _ in range(2000):
        windows = {each["name"]: each["used"] for each in by.ask("GET", "/me/limits").json["windows"]}
        found = windows["tokens-day"]
        if found == wanted:
            return
    raise AssertionError(f"{found} tokens were counted, not {wanted}")


@pytest.mark.parametrize("stream", [False, True])
def test_a_completions_question_counts_for_the_model_that_embeds_it(
    api: Running, base: str, served: tuple[str, Model], model: Model, stream: bool
) -> None:
    ann = person(api)
    spent = tokens(ann, QUESTION)
    body = {"model": served[0], "messages": [{"role": "user", "content": QUESTION}], "knowledge_base_ids": [base]}
    assert ann.ask("POST", "/chat/completions", {**body, "stream": stream}).status == 200
    assert usage(ann, served[0], EMBEDDING) == {served[0]: (1, USAGE["total_tokens"]), EMBEDDING: (0, spent)}
    counted(ann, spent + USAGE["total_tokens"])


def test_an_honest_outcome_costs_what_was_looked_for_and_small_talk_nothing(
    api: Running, base: str, served: tuple[str, Model], model: Model
) -> None:
    ann, question = person(api), "Who wrote Hamlet?"
    body = {"model": served[0], "knowledge_base_ids": [base]}
    answer = ann.ask("POST", "/chat/completions", {**body, "messages": [{"role": "user", "content": question}]})
    assert answer.json["retrieval"]["outcome"] == "not_in_documents"
    counted(ann, tokens(ann, question))
    answer = ann.ask("POST", "/chat/completions", {**body, "messages": [{"role": "user", "content": "Thank you!"}]})
    assert answer.json["retrieval"]["outcome"] == "conversation"
    counted(ann, tokens(ann, question) + USAGE["total_tokens"])


def test_a_search_counts_as_embeddings_do(api: Running, base: str) -> None:
    ann = person(api)
    spent = tokens(ann, QUESTION)
    for mode, wanted in (("hybrid", spent), ("vector", 2 * spent), ("keyword", 2 * spent)):
        assert ann.ask("POST", f"/knowledge/{base}/search", {"query": QUESTION, "mode": mode}).status == 200
        counted(ann, wanted)
    assert usage(ann, EMBEDDING) == {EMBEDDING: (2, 2 * spent)}


def test_what_a_tool_looks_for_counts_too(api: Running, base: str, served: tuple[str, Model], model: Model) -> None:
    admin = person(api, "admin")
    tool = admin.make("/tools", {"type": "builtin", "builtin": "knowledge_search"})
    spent = tokens(admin, QUESTION)
    assert admin.ask("POST", f"/tools/{tool['id']}/invoke", {"arguments": {"query": QUESTION}}).json["ok"]
    assert usage(admin, EMBEDDING) == {EMBEDDING: (1, spent)}
    fields = {"model": served[0], "knowledge_base_ids": [base], "tool_ids": [tool["id"]]}
    asked = admin.make("/assistants", fields)["id"]
    model.say = lambda body: (
        text("Purple [1].") if last(body)["role"] == "tool" else calls(call(tool["name"], query=QUESTION))
    )
    body = {"assistant_id": asked, "messages": [{"role": "user", "content": "Tell me."}]}
    assert admin.ask("POST", "/chat/completions", body).status == 200
    both = usage(admin, served[0], EMBEDDING)
    assert both == {served[0]: (1, 2 * USAGE["total_tokens"]), EMBEDDING: (1, 2 * spent)}
    counted(admin, 2 * spent + 2 * USAGE["total_tokens"])


def test_who_has_no_tokens_left_searches_no_more(api: Running, base: str) -> None:
    ann, admin = person(api), person(api, "admin")
    spent = tokens(ann, QUESTION)
    assert admin.ask("PATCH", f"/users/{ann.id}", {"limits": {"tokens_per_day": 2 * spent}}).status == 200
    answers = []
    for number in range(3):
        answers.append(ann.ask("POST", f"/knowledge/{base}/search", {"query": QUESTION}))
        counted(ann, min(number + 1, 2) * spent)
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["ratelimit-policy"] == f'"tokens-day";q={2 * spent};w=86400'
    # the headers told that it was near
    assert answers[1].headers["ratelimit-policy"] == answers[2].headers["ratelimit-policy"]
    # what does not read anything is still answered
    assert ann.ask("GET", f"/knowledge/{base}").status == 200


def test_a_limit_below_what_an_answer_needs_lets_it_take_an_empty_window(
    api: Running, base: str, served: tuple[str, Model], model: Model
) -> None:
    ann, admin = person(api), person(api, "admin")
    assert admin.ask("PATCH", f"/users/{ann.id}", {"limits": {"tokens_per_day": 40}}).status == 200
    body: dict[str, Any] = {"model": served[0], "knowledge_base_ids": [base]}
    body["messages"] = [{"role": "user", "content": QUESTION}]
    assert ann.ask("POST", "/chat/completions", body).status == 200
    counted(ann, tokens(ann, QUESTION) + USAGE["total_tokens"])
