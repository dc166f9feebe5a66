"""Remote models: another appliance in this process, and a scripted server for what goes wrong."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator

import pytest

from tests.support.oauth import session_of
from tests.support.remote_models import SECRET, add, calmed, chunk, far_model, listing
from tests.support.running import PATIENCE, Running, running
from tests.support.schemas import validate
from tests.support.scripted import Heard, Line, Scripted

GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 100}


# another appliance


@pytest.fixture(scope="module")
def near(api: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An appliance that has the models of `api` as remote ones: `far-chat` and `far-embedding`."""
    with running(tmp_path_factory.mktemp("near") / "data", context_length=256) as started:
        for name, model, kind in (
            ("far-chat", "gpt-4", "chat"),
            ("far-embedding", "text-embedding-3-small", "embedding"),
        ):
            made = add(started, api.base_url, name, model=model, kind=kind, api_key=api.key)
            assert made.status == 201, made.body
            assert (made.json["status"], made.json["failure"]) == ("available", None)
        yield started


def test_a_completion_of_a_remote_model_is_that_of_the_other_server(api: Running, near: Running) -> None:
    asked = {"temperature": 0, "seed": 5, "max_tokens": 12}
    there, here = api.chat("Hello", **asked), near.chat("Hello", model="far-chat", **asked)
    assert here.status == 200, here.body
    validate(here.json, "CreateChatCompletionResponse")
    assert here.json["model"] == "far-chat"
    assert here.json["id"] != there.json["id"]
    assert here.json["choices"] == there.json["choices"]
    assert here.json["usage"]["completion_tokens"] == there.json["usage"]["completion_tokens"]


def test_a_stream_of_a_remote_model_comes_token_by_token_under_our_name(near: Running) -> None:
    asked = {"temperature": 0, "seed": 5, "max_tokens": 12, "model": "far-chat"}
    whole = near.chat("Hello", **asked).json["choices"][0]["message"]["content"]
    answer = near.chat("Hello", stream=True, stream_options={"include_usage": True}, **asked)
    assert answer.events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in answer.events[:-1]]
    for each in chunks:
        validate(each, "CreateChatCompletionStreamResponse")
    assert {(each["model"], each["id"]) for each in chunks} == {("far-chat", chunks[0]["id"])}
    told = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(told) == whole
    assert len([text for text in told if text]) > 3
    assert chunks[-1]["usage"]["completion_tokens"] == 12


def test_tools_and_formats_go_along(near: Running) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    called = near.chat(
        "Call f.", model="far-chat", tools=[tool], **GREEDY, tool_choice="required", parallel_tool_calls=False
    )
    assert called.json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f", called.body
    assert called.json["choices"][0]["finish_reason"] == "tool_calls"
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    formed = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    made = near.chat("Any.", model="far-chat", response_format=formed, **GREEDY)
    assert json.loads(made.json["choices"][0]["message"]["content"])["a"] in {1, 2}


def test_text_completions_and_embeddings_go_there_too(api: Running, near: Running) -> None:
    body = {"model": "gpt-4", "prompt": "One, two,", "temperature": 0, "seed": 1, "max_tokens": 6}
    there = api.ask("POST", "/api/v1/completions", body).json
    here = near.ask("POST", "/api/v1/completions", {**body, "model": "far-chat"}).json
    assert here["choices"] == there["choices"]
    streamed = near.ask("POST", "/api/v1/completions", {**body, "model": "far-chat", "stream": True})
    parts = [json.loads(event)["choices"][0]["text"] for event in streamed.events[:-1]]
    assert "".join(parts) == here["choices"][0]["text"]

    texts = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    vectors = api.ask("POST", "/api/v1/embeddings", texts).json
    far = near.ask("POST", "/api/v1/embeddings", {**texts, "model": "far-embedding"}).json
    assert [one["embedding"] for one in far["data"]] == [one["embedding"] for one in vectors["data"]]
    assert far["model"] == "far-embedding"


def test_logprobs_of_a_remote_model_come_along(near: Running) -> None:
    asked = near.chat("Hello", model="far-chat", logprobs=True, top_logprobs=2, max_tokens=3)
    assert asked.status == 200, asked.body
    told = asked.json["choices"][0]["logprobs"]["content"]
    assert len(told) == 3
    assert all(len(token["top_logprobs"]) == 2 for token in told)


def test_their_refusal_is_ours_with_the_same_words(api: Running, near: Running) -> None:
    long = "word " * 5000
    there, here = api.chat(long), near.chat(long, model="far-chat")
    assert here.status == there.status == 400
    assert here.json["error"]["message"] == there.json["error"]["message"]
    assert here.json["error"]["code"] == "context_length_exceeded"


# a scripted server


@pytest.fixture(scope="module")
def stage(api: Running) -> Iterator[Scripted]:
    with far_model(api) as server:
        yield server


@pytest.fixture
def server(stage: Scripted) -> Scripted:
    return calmed(stage)


def test_only_known_fields_are_forwarded_with_the_key_and_their_name(api: Running, server: Scripted) -> None:
    server.script = lambda _, line: line.answer_json(
        200, {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "eos"}], "odd": 1}
    )
    answer = api.chat("Hello", model="far", unknown=1, top_k=3)
    assert answer.status == 200, answer.body
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    heard = server.heard[-1]
    assert (heard.path, heard.headers["authorization"], heard.headers["x-team"]) == (
        *("/v1/chat/completions", f"Bearer {SECRET}", SECRET),
    )
    assert heard.json == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 16,
        "top_k": 3,
    }


def test_the_first_page_lists_a_model_that_is_elsewhere(api: Running, server: Scripted) -> None:
    page = api.ask("GET", "/", key=None, headers=session_of(api, "admin@localhost"))
    assert (page.status, b"<code>far</code>" in page.body) == (200, True)


def test_secrets_are_never_shown_and_lie_sealed(api: Running, server: Scripted) -> None:
    shown = api.ask("GET", "/api/v1/models/far")
    validate(shown.json, "Model")
    assert shown.json["remote"] == {
        **{"base_url": server.url + "/v1", "model": "m", "has_api_key": True},
        **{"header_names": ["X-Team"], "slots": 1},
    }
    assert SECRET not in api.ask("GET", "/api/v1/models").body.decode()
    with api.appliance.store.read() as db:
        sealed = db.one("SELECT api_key, headers FROM remote_models WHERE model_id = 'far'")
    assert sealed is not None
    assert SECRET.encode() not in b"".join(sealed)


def test_where_a_model_runs_and_what_is_wrong_with_it_is_for_those_who_can_change_it(
    api: Running, server: Scripted
) -> None:
    add(api, "http://127.0.0.1:9/v1", "off")
    reader = api.make_user("reads-remote-models@example.test")
    for path in ("/api/v1/models/far", "/api/v1/models/off", "/api/v1/models?page_size=100"):
        mine, theirs = api.ask("GET", path), api.ask("GET", path, key=reader)
        assert (mine.status, theirs.status) == (200, 200)
        assert b"http://127.0.0.1" in mine.body
        assert b"127.0.0.1" not in theirs.body
    shown = api.ask("GET", "/api/v1/models/off", key=reader).json
    assert (shown["status"], shown["failure"], shown["remote"], shown["source"]) == ("failed", None, None, "remote")
    assert api.ask("DELETE", "/api/v1/models/off").status == 204


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_ends_the_remote_request(api: Running, server: Scripted, stream: bool) -> None:
    def endless(_: Heard, line: Line) -> None:
        if stream:
            line.events(chunk("on and on"))
        line.hang()

    server.script = endless
    connection = api.connect()
    body = {"model": "far", "messages": [{"role": "user", "content": "x"}], "stream": stream}
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/chat/completions", json.dumps(body), headers)
    if stream:
        connection.getresponse().readline()
    deadline = time.monotonic() + PATIENCE
    while not server.heard:
        assert time.monotonic() < deadline
        api.ask("GET", "/healthz")
    connection.close()
    assert server.ended.acquire(timeout=PATIENCE)


def read_to(answer: http.client.HTTPResponse, wanted: bytes) -> bytes:
    """The first line that has `wanted`; each read has the connection's time-out."""
    while wanted not in (line := answer.readline()):
        assert line, "it ended before"
    return line


def test_more_than_its_slots_wait_and_are_told_their_place(api: Running, server: Scripted) -> None:
    def hold(_: Heard, line: Line) -> None:
        line.events(chunk("first"))
        line.hang()

    server.script = hold
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    body = json.dumps({"model": "far", "messages": [{"role": "user", "content": "x"}], "stream": True})
    first, second = api.connect(), api.connect()
    first.request("POST", "/api/v1/chat/completions", body, headers)
    holding = first.getresponse()
    read_to(holding, b"first")
    second.request("POST", "/api/v1/chat/completions", body, headers)
    waiting = second.getresponse()
    assert read_to(waiting, b": queued").startswith(b": queued position=1 eta=")
    assert api.ask("GET", "/api/v1/models/far/queue").json == {"running": 1, "waiting": 1, "slots": 1}
    assert len(server.heard) == 1
    holding.close()
    first.close()
    read_to(waiting, b"first")
    waiting.close()
    second.close()


def test_a_remote_model_leaves_without_touching_a_file(
    api: Running, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    assert add(api, server.url, "leaving").status == 201
    assert api.ask("DELETE", "/api/v1/models/leaving").status == 204
    assert not [record for record in caplog.records if "leaving" in record.getMessage()]


def test_a_key_does_not_follow_its_model_to_another_server(api: Running, server: Scripted) -> None:
    server.script = listing
    add(api, server.url, "moving", api_key=SECRET)
    path = "/api/v1/models/moving"
    assert api.ask("PATCH", path, {"remote": {"base_url": server.url + "/v2"}}).json["remote"]["has_api_key"]
    moved = api.ask("PATCH", path, {"remote": {"base_url": "http://127.0.0.2:9/v1"}}).json
    assert moved["remote"]["has_api_key"] is False
    api.ask("DELETE", path)


@pytest.mark.parametrize("stream", [False, True])
def test_a_remote_model_that_leads_back_here_is_refused_at_its_second_coming(api: Running, stream: bool) -> None:
    assert add(api, api.base_url, "circle", model="circle", api_key=api.key).status == 201
    try:
        answer = api.chat("Hello", model="circle", stream=stream)
        assert (answer.status, answer.json["error"]["code"]) == (422, "remote_loop")
        assert "circle" in answer.json["error"]["message"]
    finally:
        assert api.ask("DELETE", "/api/v1/models/circle").status == 204


def test_two_appliances_that_lead_to_each_other_are_no_circle_without_end(api: Running, near: Running) -> None:
    assert add(api, near.base_url, "to-near", model="to-far", api_key=near.key).status == 201
    assert add(near, api.base_url, "to-far", model="to-near", api_key=api.key).status == 201
    try:
        answer = api.chat("Hello", model="to-near")
        assert (answer.status, answer.json["error"]["code"]) == (422, "remote_loop")
    finally:
        for appliance, name in ((api, "to-near"), (near, "to-far")):
            assert appliance.ask("DELETE", f"/api/v1/models/{name}").status == 204


def test_what_is_done_in_memory_is_refused_for_a_remote_model(api: Running, server: Scripted) -> None:
    for path in ("load", "unload"):
        assert api.ask("POST", f"/api/v1/models/far/{path}").status == 422
    assert api.ask("PATCH", "/api/v1/models/far", {"pinned": True}).status == 422
    assert api.ask("POST", "/api/v1/tokenize", {"model": "far", "input": "x"}).status == 422
