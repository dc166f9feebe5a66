"""Remote models whose server does what it should not, and what can be none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.remote_models import add, calmed, chunk, far_model, listing
from tests.support.running import Running
from tests.support.scripted import Heard, Line, Scripted, scripted


@pytest.fixture(scope="module")
def stage(api: Running) -> Iterator[Scripted]:
    with far_model(api) as server:
        yield server


@pytest.fixture
def server(stage: Scripted) -> Scripted:
    return calmed(stage)


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


def test_a_model_that_the_server_does_not_list_is_shown_as_failed(api: Running, server: Scripted) -> None:
    server.script = listing
    made = add(api, server.url, "typo", model="other")
    assert (made.json["status"], made.json["failure"]) == ("failed", "The server has no model 'other'; it lists: m.")
    changed = api.ask("PATCH", "/api/v1/models/typo", {"remote": {"model": "m"}, "aliases": {"add": ["right"]}})
    assert (changed.json["remote"]["model"], changed.json["aliases"]) == ("m", ["right"])
    assert api.ask("DELETE", "/api/v1/models/typo").status == 204


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
