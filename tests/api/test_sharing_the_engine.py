"""Many clients of one engine: places, queues, and what is shared, over real sockets."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any

import pytest

from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import Generation, GenerationRequest, Priority
from secureai_appliance.inference.limits import QueueState
from tests.support.models import StepGate
from tests.support.running import PATIENCE, Running

MODEL = "smollm2-135m-instruct"


@pytest.fixture
def engine(api: Running) -> Engine:
    """The chat model's engine, idle."""
    if MODEL not in api.appliance.models.in_memory():
        assert api.chat("hi", max_tokens=1).status == 200
    loaded = api.appliance.models.in_memory()[MODEL]
    assert isinstance(loaded, Engine)
    assert loaded.wait_until(idle, PATIENCE)
    return loaded


def idle(state: QueueState) -> bool:
    return (state.running, state.waiting, state.kv_tokens) == (0, 0, 0)


def begin(api: Running, text: str, *, stream: bool = True, max_tokens: int = 40) -> http.client.HTTPConnection:
    """Send a chat completion and read nothing of its answer."""
    connection = api.connect()
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": stream, "max_tokens": max_tokens}
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/chat/completions", json.dumps(body).encode(), headers)
    return connection


def wait_for_all_places(api: Running) -> None:
    """A place is given back after the last byte, in the server's own thread."""
    for _ in range(10_000):
        if b"\nsecureai_streams_open 0.0\n" in api.ask("GET", "/metrics").body:
            return
    raise AssertionError("a place is never given back")


def _share(api: Running, words: int) -> None:
    other = api.make_user(f"sharing-{words}@example.com")
    text = "Read this. " + " ".join(f"word{number % 7}" for number in range(words))
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 1}

    def usage(key: str | None = "") -> tuple[int, int]:
        told = api.ask("POST", "/api/v1/chat/completions", body, key=key).json["usage"]
        return told["prompt_tokens"], told["prompt_tokens_details"]["cached_tokens"]

    length, _ = usage()
    assert length >= words
    assert usage() == (length, length - 1)
    assert usage(other) == (length, 0)


def test_a_prompt_is_computed_once_for_a_user_and_again_for_another(api: Running, engine: Engine) -> None:
    _share(api, 100)


@pytest.mark.soak
def test_a_long_prompt_is_computed_once_for_a_user_and_again_for_another(api: Running, engine: Engine) -> None:
    _share(api, 490)


@pytest.mark.parametrize(
    ("tier", "priority"), [(None, Priority.INTERACTIVE), ("auto", Priority.INTERACTIVE), ("flex", Priority.BATCH)]
)
def test_flex_runs_when_nothing_interactive_wants_the_place(
    api: Running, engine: Engine, monkeypatch: pytest.MonkeyPatch, tier: str | None, priority: Priority
) -> None:
    seen: list[Priority] = []
    submit = engine.submit

    def spy(request: GenerationRequest) -> Generation:
        seen.append(request.priority)
        return submit(request)

    monkeypatch.setattr(engine, "submit", spy)
    answer = api.chat("hi", max_tokens=1, service_tier=tier)
    assert "x-secureai-ignored" not in answer.headers
    text = {"model": MODEL, "prompt": "hi", "max_tokens": 1, "service_tier": tier}
    assert api.ask("POST", "/api/v1/completions", text).status == answer.status == 200
    assert seen == [priority, priority]


def test_an_unknown_service_tier_is_named(api: Running) -> None:
    answer = api.chat("hi", service_tier="golden")
    assert (answer.status, answer.json["error"]["details"]["field"]) == (400, "service_tier")


def test_who_waits_is_told_a_place_and_a_time_that_is_not_nothing(api: Running, engine: Engine) -> None:
    gate = StepGate(engine)
    slots = engine.queue().slots
    connections = [begin(api, "Count.")]
    assert engine.wait_until(lambda state: state.running == 1, PATIENCE)
    try:
        for number in range(1, slots + 2):
            connections.append(begin(api, "Count."))
            assert engine.wait_until(lambda state, wanted=number: state.waiting == wanted, PATIENCE)  # type: ignore[misc]
        answer = connections[-1].getresponse()
        line = b""
        while not line.startswith(b": queued"):
            line = answer.readline()
        told = re.fullmatch(rb": queued position=(\d+) eta=(\d+)\s*", line)
        assert told is not None
        assert int(told[1]) == slots + 1
        assert int(told[2]) >= 1
    finally:
        for connection in connections:
            connection.close()
        gate.open()
    assert engine.wait_until(idle, PATIENCE)


def test_with_every_stream_place_taken_health_and_pages_answer(api: Running, engine: Engine) -> None:
    """P16; how fast is measured by tests/bench/promises.py."""
    wait_for_all_places(api)
    gate = StepGate(engine)
    connections: list[http.client.HTTPConnection] = []
    try:
        while True:
            assert len(connections) <= 100, "there is no bound"
            connections.append(begin(api, "Count."))
            status = connections[-1].getresponse().status
            if status == 503:
                break
            assert status == 200
        assert len(connections) == api.appliance.settings.max_streams + 1
        assert api.ask("GET", "/healthz", key=None).status == 200
        assert api.ask("GET", "/", key=None).status in {200, 302, 303}
        assert api.ask("GET", "/api/v1/me").status == 200
    finally:
        for connection in connections:
            connection.close()
        gate.open()
    assert engine.wait_until(idle, PATIENCE)
