"""Remote models: another appliance in this process, and a scripted server for what goes wrong."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.oauth import session_of
from tests.support.running import PATIENCE, Response, Running, running
from tests.support.schemas import validate
from tests.support.scripted import Heard, Line, Scripted, scripted

GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 100}
SECRET = "canary-key-of-the-other-server"


def add(api: Running, base_url: str, name: str, **remote: Any) -> Response:
    return api.ask("POST", "/api/v1/models", {"name": name, "remote": {"base_url": base_url, "model": "m", **remote}})


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
    for chunk in chunks:
        validate(chunk, "CreateChatCompletionStreamResponse")
    assert {(chunk["model"], chunk["id"]) for chunk in chunks} == {("far-chat", chunks[0]["id"])}
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


def listing(_: Heard, line: Line) -> None:
    line.answer_json(200, {"data": [{"id": "m"}]})


@pytest.fixture(scope="module")
def stage(api: Running) -> Iterator[Scripted]:
    with scripted(listing) as server:
        made = add(api, server.url + "/v1/", "far", api_key=SECRET, headers={"X-Team": SECRET}, slots=1)
        assert made.status == 201, made.body
        yield server
        assert api.ask("DELETE", "/api/v1/models/far").status == 204


@pytest.fixture
def server(stage: Scripted) -> Scripted:
    stage.heard.clear()
    while stage.ended.acquire(blocking=False):
        continue
    return stage


def chunk(text: str, **fields: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **fields}


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


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((400, {}), (400, "no such thing", None)),
        ((404, {}), (404, "no such thing", None)),
        ((422, {}), (422, "no such thing", None)),
        ((418, {}), (422, "no such thing", None)),
        ((401, {}), (503, "refuses the key", "10")),
        ((429, {"Retry-After": "7"}), (429, "no such thing", "7")),
        ((503, {"Retry-After": "8"}), (503, "no such thing", "8")),
        ((500, {}), (503, "answers 500: no such thing", "10")),
        ((302, {"Location": "http://169.254.169.254/"}), (503, "answers 302", "10")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_their_errors_have_our_shape(
    api: Running, server: Scripted, theirs: tuple[int, dict[str, str]], expected: Any, stream: bool
) -> None:
    (status, headers), (ours, says, retry_after) = theirs, expected
    server.script = lambda _, line: line.answer_json(status, {"error": {"message": "no such thing"}}, headers)
    answer = api.chat("Hello", model="far", stream=stream)
    assert (answer.status, answer.headers.get("retry-after")) == (ours, retry_after)
    assert says in answer.json["error"]["message"]


def cut(_: Heard, line: Line) -> None:
    line.events(chunk("half"))


def failing(_: Heard, line: Line) -> None:
    line.events(chunk("half"), {"error": {"message": "out of memory"}})


def garbage(_: Heard, line: Line) -> None:
    line.events(chunk("half"), "{nonsense")


@pytest.mark.parametrize(
    ("script", "says"), [(cut, "broke off"), (failing, "out of memory"), (garbage, "can't be understood")]
)
def test_what_goes_wrong_in_the_middle_is_one_error_and_the_end(
    api: Running, server: Scripted, script: Any, says: str
) -> None:
    server.script = script
    answer = api.chat("Hello", model="far", stream=True)
    assert answer.status == 200
    assert json.loads(answer.events[0])["choices"][0]["delta"]["content"] == "half"
    error = json.loads(answer.events[1])["error"]
    assert says in error["message"]
    assert error["code"] == "remote_unavailable"
    assert answer.events[2:] == ["[DONE]"]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("events", [[], [{"choices": [], "usage": {"prompt_tokens": 3}}]])
def test_a_stream_in_which_nothing_is_said_is_no_answer(
    api: Running, server: Scripted, path: str, events: list[Any]
) -> None:
    server.script = lambda _, line: line.events(*events, "[DONE]")
    body = {"model": "far", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "stream": True}
    del body["prompt" if path.startswith("chat") else "messages"]
    answer = api.ask("POST", f"/api/v1/{path}", body)
    # the status can still tell, unless the server took its time
    error = answer.json["error"] if answer.status == 503 else json.loads(answer.events[0])["error"]
    assert error["code"] == "remote_unavailable"


def test_a_server_that_does_not_stream_is_unavailable(api: Running, server: Scripted) -> None:
    server.script = lambda _, line: line.answer_json(200, {"choices": []})
    answer = api.chat("Hello", model="far", stream=True)
    assert (answer.status, answer.json["error"]["code"]) == (503, "remote_unavailable")


@pytest.mark.parametrize("count", [-1, 2**63, 10**30])
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens"])
def test_counts_that_no_answer_can_have_are_not_counted(api: Running, server: Scripted, field: str, count: int) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, field: count}
    server.script = lambda _, line: line.answer_json(
        200, {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}], "usage": usage}
    )
    answer = api.chat("Hello", model="far")
    assert (answer.status, answer.json["error"]["code"]) == (503, "remote_unavailable")
    server.script = lambda _, line: line.events(chunk("hi"), chunk("", usage=usage), "[DONE]")
    answer = api.chat("Hello", model="far", stream=True)
    assert json.loads(answer.events[-2])["error"]["code"] == "remote_unavailable"


def test_cached_tokens_are_a_part_of_the_prompt(api: Running, server: Scripted) -> None:
    def said(cached: int) -> int:
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": cached}}
        server.script = lambda _, line: line.answer_json(
            200, {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}], "usage": usage}
        )
        details = api.chat("Hello", model="far").json["usage"]["prompt_tokens_details"]
        return int(details["cached_tokens"])

    assert [said(-4), said(2), said(2**70)] == [0, 2, 3]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": 5}', b"{}"])
def test_an_answer_that_makes_no_sense_is_503(api: Running, server: Scripted, body: bytes) -> None:
    server.script = lambda _, line: line.answer(200, body)
    assert api.chat("Hello", model="far").status == 503
    embedding = api.ask("POST", "/api/v1/embeddings", {"model": "far", "input": "x"})
    assert embedding.status == 422  # it is a chat model


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


def test_a_server_that_is_not_there_is_503_and_says_so(api: Running, tmp_path: Path) -> None:
    with scripted(listing) as gone:
        url = gone.url
    made = add(api, url, "nowhere")
    assert made.json["status"] == "failed"
    assert "refuses connections" in made.json["failure"]
    for stream in (False, True):
        answer = api.chat("Hello", model="nowhere", stream=stream)
        assert (answer.status, answer.json["error"]["code"]) == (503, "remote_unavailable")
        assert "can't be reached" in answer.json["error"]["message"]
    assert api.ask("DELETE", "/api/v1/models/nowhere").status == 204


def test_a_remote_model_leaves_without_touching_a_file(
    api: Running, server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    assert add(api, server.url, "leaving").status == 201
    assert api.ask("DELETE", "/api/v1/models/leaving").status == 204
    assert not [record for record in caplog.records if "leaving" in record.getMessage()]


def test_a_model_that_the_server_does_not_list_is_shown_as_failed(api: Running, server: Scripted) -> None:
    server.script = listing
    made = add(api, server.url, "typo", model="other")
    assert (made.json["status"], made.json["failure"]) == ("failed", "The server has no model 'other'; it lists: m.")
    changed = api.ask("PATCH", "/api/v1/models/typo", {"remote": {"model": "m"}, "aliases": {"add": ["right"]}})
    assert (changed.json["remote"]["model"], changed.json["aliases"]) == ("m", ["right"])
    assert api.ask("DELETE", "/api/v1/models/typo").status == 204


def test_a_key_does_not_follow_its_model_to_another_server(api: Running, server: Scripted) -> None:
    server.script = listing
    add(api, server.url, "moving", api_key=SECRET)
    path = "/api/v1/models/moving"
    assert api.ask("PATCH", path, {"remote": {"base_url": server.url + "/v2"}}).json["remote"]["has_api_key"]
    moved = api.ask("PATCH", path, {"remote": {"base_url": "http://127.0.0.2:9/v1"}}).json
    assert moved["remote"]["has_api_key"] is False
    api.ask("DELETE", path)


@pytest.mark.parametrize(
    ("remote", "field"),
    [
        ({"base_url": "ftp://x"}, "remote.base_url"),
        ({"base_url": "http://u:p@x"}, "remote.base_url"),
        ({"base_url": "http://x/v1/chat/completions"}, "remote.base_url"),
        ({"headers": {"Host": "x"}}, "remote.headers"),
        ({"headers": {"X": "a\r\nB: c"}}, "remote.headers"),
        ({"headers": {"X-Team": "a", "x-team": "b"}}, "remote.headers"),
        ({"api_key": "a\nb"}, "remote.api_key"),
    ],
)
def test_what_can_not_be_a_remote_model_is_refused(api: Running, remote: dict[str, Any], field: str) -> None:
    answer = add(api, remote.pop("base_url", "http://127.0.0.1:9"), "bad", **remote)
    assert (answer.status, answer.json["error"]["details"]["field"]) == (400, field)
    assert api.ask("GET", "/api/v1/models/bad").status == 404


def test_a_metadata_address_is_never_asked(api: Running) -> None:
    made = add(api, "http://169.254.169.254/v1", "cloud")
    assert "must not be dialled" in made.json["failure"]
    assert api.chat("x", model="cloud").status == 503
    narrowed = api.ask("PUT", "/api/v1/configs/outbound.deny", {"value": ["127.0.0.0/8"]})
    assert narrowed.status == 200, narrowed.body
    assert "must not be dialled" in add(api, "http://127.0.0.1:9/v1", "loop").json["failure"]
    api.ask("PUT", "/api/v1/configs/outbound.deny", {"value": []})
    assert api.ask("DELETE", "/api/v1/models/loop").status == 204
    assert api.ask("DELETE", "/api/v1/models/cloud").status == 204


def test_a_line_break_is_no_part_of_a_name(api: Running) -> None:
    made = add(api, "http://127.0.0.1:9/v1", "broken\n")
    assert (made.status, made.json["error"]["details"]["field"]) == (400, "name")
    assert made.json["error"]["message"] == "The 'name' field must match the pattern ^[a-z0-9][a-z0-9._-]{0,99}."
    aliased = api.ask("PATCH", "/api/v1/models/smollm2-135m-instruct", {"aliases": {"add": ["broken\n"]}})
    assert (aliased.status, aliased.json["error"]["details"]["constraint"]) == (400, "pattern")
    upload = api.ask("POST", "/api/v1/uploads", {"filename": "x", "size": 1, "sha256": "0" * 64 + "\n"})
    assert upload.status == 400


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
