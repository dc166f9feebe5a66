"""Streams: promise 15 without a socket and without waiting."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.web.sse import DONE, PING, Ending, EventStream, Surroundings, frame
from tests.support.clock import FakeClock
from tests.support.web import App
from tests.support.web_routes import ScriptedSource

TALK = {"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": True}


def surroundings(
    clock: FakeClock,
    *,
    disconnected: Callable[[], bool] = lambda: False,
    stopping: Callable[[], bool] = lambda: False,
    failed: Callable[[str], None] = lambda _: None,
) -> Surroundings:
    return Surroundings("req-1", clock, disconnected, stopping, failed)


def test_the_first_byte_comes_before_the_source_is_asked(clock: FakeClock) -> None:
    source = ScriptedSource(b"{}")
    stream = EventStream(source, surroundings(clock))
    assert next(iter(stream)) == PING
    assert source.asked == 0


def test_events_and_comments_are_framed_and_done_ends_it(clock: FakeClock) -> None:
    source = ScriptedSource(b'{"n":1}', "queued position=3 eta=12", b'{"n":2}')
    endings: list[Ending] = []
    stream = EventStream(source, surroundings(clock), endings.append)
    assert list(stream) == [
        PING,
        b'data: {"n":1}\n\n',
        b": queued position=3 eta=12\n\n",
        b'data: {"n":2}\n\n',
        DONE,
    ]
    assert (source.closed, endings) == (1, [Ending.COMPLETE])
    stream.close()
    assert (source.closed, endings) == (1, [Ending.COMPLETE])


def test_line_breaks_can_not_forge_an_event() -> None:
    assert frame("a\ndata: x\r\rb") == b": a\n: data: x\n: \n: b\n\n"
    assert frame(b"a\n\nb") == b"data: a\ndata: \ndata: b\n\n"


def test_a_silent_stream_pings_every_15_seconds(clock: FakeClock) -> None:
    source = ScriptedSource(*[None] * 62, b"{}", *[None] * 29, waited=lambda: clock.advance(0.5))
    sent = list(EventStream(source, surroundings(clock)))
    assert sent == [PING, PING, PING, b"data: {}\n\n", DONE]


def test_a_failure_after_the_first_byte_is_one_error_event_and_done(clock: FakeClock) -> None:
    failed: list[str] = []
    endings: list[Ending] = []
    source = ScriptedSource(b"{}", ServiceUnavailable("Too long.", retry_after=3), b"{}")
    sent = list(EventStream(source, surroundings(clock, failed=failed.append), endings.append))
    assert [sent[0], sent[1], sent[3]] == [PING, b"data: {}\n\n", DONE]
    error = json.loads(sent[2].removeprefix(b"data: "))["error"]
    assert (error["type"], error["message"], error["retry_after"]) == ("service_unavailable", "Too long.", 3)
    assert error["request_id"] == "req-1"
    assert (failed, endings, source.closed) == (["service_unavailable"], [Ending.FAILED], 1)


def test_a_defect_inside_a_stream_shows_nothing_of_itself(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    sent = list(EventStream(ScriptedSource(RuntimeError("sk-canary")), surroundings(clock)))
    assert b"internal_error" in sent[1]
    assert b"canary" not in b"".join(sent)
    assert sent[2] == DONE
    assert "req-1" in caplog.text


def test_a_hang_up_closes_the_source_before_it_is_asked_again(clock: FakeClock) -> None:
    gone: list[bool] = []
    endings: list[Ending] = []
    source = ScriptedSource(b"{}", None, b"{}", waited=lambda: gone.append(True))
    stream = EventStream(source, surroundings(clock, disconnected=lambda: bool(gone)), endings.append)
    assert list(stream) == [PING, b"data: {}\n\n"]
    stream.close()
    assert (source.asked, source.closed, endings) == (2, 1, [Ending.HUNG_UP])


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_stream_that_is_given_up_closes_its_source(clock: FakeClock, taken: int) -> None:
    source = ScriptedSource(b"{}", b"{}")
    stream = EventStream(source, surroundings(clock))
    frames = iter(stream)
    for _ in range(taken):
        next(frames)
    stream.close()
    assert source.closed == 1


def test_a_stop_ends_a_stream_with_an_error_and_done(clock: FakeClock) -> None:
    stop: list[bool] = []
    source = ScriptedSource(None, b"{}", waited=lambda: stop.append(True))
    sent = list(EventStream(source, surroundings(clock, stopping=lambda: bool(stop))))
    assert b"service_unavailable" in sent[1]
    assert sent[2] == DONE
    assert source.closed == 1


def test_a_source_that_fails_to_close_does_not_cost_done(clock: FakeClock) -> None:
    class Stuck(ScriptedSource):
        def close(self) -> None:
            super().close()
            raise RuntimeError("stuck")

    source = Stuck(b"{}")
    stream = EventStream(source, surroundings(clock))
    assert list(stream)[-1] == DONE
    stream.close()
    assert source.closed == 1


def test_a_stream_is_answered_as_an_event_stream(app: App) -> None:
    got = app.call("POST", "/api/v1/talk", TALK)
    assert got.status == 200
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["x-accel-buffering"] == "no"
    assert got.body.endswith(DONE)


def test_places_are_taken_and_given_back_on_every_way_out(app: App) -> None:
    def busy() -> float:
        value = app.parts.metrics.streams_open._value.get()
        return float(value)

    def fail(_: object) -> None:
        assert busy() == 1
        raise ServiceUnavailable("Queue full.", retry_after=2)

    app.does.on_talk = fail
    assert app.call("POST", "/api/v1/talk", TALK).status == 503
    app.does.on_talk = lambda _: None
    app.does.source = lambda: ScriptedSource(RuntimeError("x"))
    app.call("POST", "/api/v1/talk", TALK)
    app.call("POST", "/api/v1/talk", {})
    app.call("POST", "/api/v1/talk", {**TALK, "stream": False})
    environ = app.environ("POST", "/api/v1/talk", json.dumps(TALK).encode(), {"Authorization": f"Bearer {app.key}"})
    hung_up = app.gateway(environ, lambda *_: None)
    assert busy() == 1
    hung_up.close()  # type: ignore[attr-defined]
    assert busy() == 0
    assert app.parts.metrics.in_flight._value.get() == 0


def test_all_places_taken_is_503_with_retry_after_and_other_routes_still_answer(app: App) -> None:
    environ = app.environ("POST", "/api/v1/talk", json.dumps(TALK).encode(), {"Authorization": f"Bearer {app.key}"})
    held = [app.gateway(dict(environ) | {"wsgi.input": _again(TALK)}, lambda *_: None) for _ in range(64)]
    got = app.call("POST", "/api/v1/talk", TALK)
    assert (got.status, got.error["retry_after"], got.headers["retry-after"]) == (503, 5, "5")
    assert app.call("GET", "/healthz").status == 200
    held.pop().close()  # type: ignore[attr-defined]
    assert app.call("POST", "/api/v1/talk", TALK).status == 200
    for answer in held:
        answer.close()  # type: ignore[attr-defined]


def _again(talk: object) -> object:
    import io

    return io.BytesIO(json.dumps(talk).encode())
