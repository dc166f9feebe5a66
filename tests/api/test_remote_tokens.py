"""Token limits with remote models: estimated before, counted after, and by nobody evaded."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import limits
from tests.support.limits import lift_limits, only_tokens
from tests.support.people import Person, person
from tests.support.remote_models import calmed
from tests.support.running import Response, Running
from tests.support.scripted import Heard, Line, Scripted, scripted

Bounded = Callable[..., Person]
CHAT = "/chat/completions"
USAGE = {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50}


def whole(text: str, usage: dict[str, int] | None = USAGE, **message: Any) -> dict[str, Any]:
    reason = "tool_calls" if message else "stop"
    said = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": reason}
    return {"choices": [said], **({"usage": usage} if usage else {})}


@pytest.fixture(scope="module")
def stage(api: Running) -> Iterator[Scripted]:
    with scripted(lambda _, line: line.answer_json(200, {"data": []})) as server:
        for name, kind in (("elsewhere", "chat"), ("elsewhere-vectors", "embedding")):
            remote = {"base_url": server.url, "model": "m", "kind": kind, "slots": 50}
            assert api.ask("POST", "/api/v1/models", {"name": name, "remote": remote}).status == 201
        yield server
        for name in ("elsewhere", "elsewhere-vectors"):
            assert api.ask("DELETE", f"/api/v1/models/{name}").status == 204


@pytest.fixture
def server(stage: Scripted) -> Scripted:
    return calmed(stage)


@pytest.fixture
def bounded(api: Running) -> Iterator[Bounded]:
    """A user with so many tokens a day."""

    def make(tokens: int, role: str = "user") -> Person:
        limits.set_tier(api.appliance.store, api.appliance.configs, only_tokens(tokens_per_day=tokens))
        return person(api, role)

    yield make
    lift_limits(api.appliance.store, api.appliance.configs)


def ask(by: Person, text: str = "Hello", **fields: Any) -> Response:
    body = {"model": "elsewhere", "messages": [{"role": "user", "content": text}], **fields}
    return by.ask("POST", CHAT, body)


def used(by: Person, wanted: int | None = None) -> int:
    """Tokens of the day; waits until they are `wanted`, because the rest comes back after the last byte."""
    found = -1
    for _ in range(2000):
        windows = by.ask("GET", "/me/limits").json["windows"]
        found = next(window["used"] for window in windows if window["name"] == "tokens-day")
        if wanted in {None, found}:
            break
    return found


def test_requests_at_once_together_get_no_more_than_there_is(server: Scripted, bounded: Bounded) -> None:
    ada, go = bounded(1000), threading.Event()

    def slow(heard: Heard, line: Line) -> None:
        go.wait(30)
        line.answer_json(200, whole("x", {"prompt_tokens": 10, "completion_tokens": heard.json["max_tokens"]}))

    server.script = slow
    answers: list[Response] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(ada, max_tokens=300))) for _ in range(10)]
    for thread in threads:
        thread.start()
    while len(answers) < 7:
        ada.ask("GET", "/me/limits")
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 7
    assert used(ada, 930) == 930


def test_an_answer_of_no_said_length_is_as_long_as_what_is_left(
    api: Running, server: Scripted, bounded: Bounded
) -> None:
    server.script = lambda _, line: line.answer_json(200, whole("Hello."))
    ada = bounded(400)
    assert ask(ada).status == 200
    assert 300 < server.heard[-1].json["max_tokens"] < 400
    assert used(ada, 50) == 50
    refused = ask(ada, "x" * 2000)
    assert (refused.status, refused.headers["ratelimit-policy"]) == (429, '"tokens-day";q=400;w=86400')
    assert len(server.heard) == 1
    # without a limit of tokens nothing is added to what the client said
    limits.set_tier(api.appliance.store, api.appliance.configs, only_tokens())
    assert ask(ada, "x" * 2000).status == 200
    assert "max_tokens" not in server.heard[-1].json


def test_whoever_hangs_up_before_the_counts_come_is_charged_by_an_estimate(
    api: Running, server: Scripted, bounded: Bounded
) -> None:
    def endless(_: Heard, line: Line) -> None:
        line.events({"choices": [{"index": 0, "delta": {"content": "word" * 100}, "finish_reason": None}]})
        line.hang()

    server.script = endless
    ada = bounded(1000)
    connection = api.connect()
    body = {"model": "elsewhere", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    headers = {"Authorization": f"Bearer {ada.key}", "Content-Type": "application/json"}
    connection.request("POST", f"/api/v1{CHAT}", json.dumps(body), headers)
    answer = connection.getresponse()
    while b"word" not in answer.readline():
        continue
    answer.close()
    connection.close()
    assert server.ended.acquire(timeout=30)
    for _ in range(2000):
        if used(ada) < 1000:
            break
    assert 100 < used(ada) < 150


def test_embeddings_of_a_server_that_tells_no_counts_are_charged_too(server: Scripted, bounded: Bounded) -> None:
    server.script = lambda _, line: line.answer_json(200, {"data": [{"index": 0, "embedding": [0.5]}]})
    ada = bounded(100)
    body = {"model": "elsewhere-vectors", "input": "x" * 240}
    assert ada.ask("POST", "/embeddings", body).status == 200
    assert 60 <= used(ada, 66) <= 70
    assert ada.ask("POST", "/embeddings", body).status == 429


def test_each_round_of_tools_gives_back_what_it_did_not_use(server: Scripted, bounded: Bounded) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "calculate", "arguments": '{"expression": "6 * 7"}'}}

    def say(heard: Heard, line: Line) -> None:
        done = heard.json["messages"][-1]["role"] == "tool"
        line.answer_json(200, whole("42") if done else whole("", tool_calls=[call]))

    server.script = say
    ada = bounded(1000, "admin")
    tool = ada.make("/tools", {"type": "builtin", "builtin": "calculator"})
    made = ada.make("/assistants", {"model": "elsewhere", "tool_ids": [tool["id"]]})
    answer = ada.ask(
        "POST",
        CHAT,
        {"assistant_id": made["id"], "messages": [{"role": "user", "content": "6*7"}], "max_tokens": 700},
    )
    assert answer.status == 200, answer.body
    assert answer.json["usage"]["total_tokens"] == 100
    assert used(ada, 100) == 100
