"""Promise 14: `Idempotency-Key`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.web import idempotency
from tests.support.clock import FakeClock
from tests.support.web import App
from tests.support.web_routes import ScriptedSource

THINGS = "/api/v1/things"
TALK = "/api/v1/talk"
SAY = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
KEY = {"Idempotency-Key": "one"}


def test_the_same_request_is_answered_again_and_done_once(app: App) -> None:
    first = app.call("POST", TALK, {**SAY, "extra": 1}, headers=KEY)
    again = app.call("POST", TALK, {**SAY, "extra": 1}, headers=KEY)
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-secureai-ignored"] == first.headers["x-secureai-ignored"] == "extra"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert "idempotency-replayed" not in first.headers
    assert app.does.calls == 1


def test_a_change_and_its_record_commit_together(app: App) -> None:
    first = app.call("POST", THINGS, {"name": "a"}, headers=KEY)
    again = app.call("POST", THINGS, {"name": "a"}, headers=KEY)
    assert first.status == again.status == 201
    assert app.does.calls == 1
    # a change that is rolled back leaves no record
    assert app.call("POST", THINGS, {"name": "break"}, headers={"Idempotency-Key": "two"}).status == 500
    with app.parts.store.read() as db:
        assert db.all("SELECT key, state FROM idempotency") == [("one", "done")]


def test_a_secret_is_not_kept_and_the_replay_says_so(app: App) -> None:
    first = app.call("POST", THINGS, {"name": "a"}, headers=KEY).json
    assert first["secret"] == "sk-canary"
    again = app.call("POST", THINGS, {"name": "a"}, headers=KEY).json
    assert again == {"id": first["id"], "name": "a", "details": {"secret": "shown_once"}}
    with app.parts.store.read() as db:
        assert b"canary" not in db.value("SELECT body FROM idempotency")


def test_the_same_key_for_another_request_is_422(app: App) -> None:
    app.call("POST", TALK, SAY, headers=KEY)
    for target, body in ((TALK, {**SAY, "model": "n"}), (f"{TALK}?x=1", SAY), (THINGS, {"name": "a"})):
        got = app.call("POST", target, body, headers=KEY)
        assert (got.status, got.error["type"]) == (422, "unprocessable_entity")


def test_keys_are_the_caller_s_own(app: App) -> None:
    app.call("POST", TALK, SAY, headers=KEY)
    other = app.call("POST", TALK, SAY, headers=KEY, key=app.new_key())
    assert "idempotency-replayed" not in other.headers
    assert app.does.calls == 2


def test_only_successes_are_kept(app: App) -> None:
    def fail(_: object) -> None:
        raise ServiceUnavailable("Queue full.", retry_after=1)

    app.does.on_talk = fail
    assert app.call("POST", TALK, SAY, headers=KEY).status == 503
    app.does.on_talk = lambda _: None
    got = app.call("POST", TALK, SAY, headers=KEY)
    assert (got.status, "idempotency-replayed" in got.headers) == (200, False)
    assert app.call("POST", THINGS, {"name": ""}, headers={"Idempotency-Key": "two"}).status == 400
    assert app.call("POST", THINGS, {"name": "a"}, headers={"Idempotency-Key": "two"}).status == 201


def test_an_answer_over_1_mb_is_not_kept(app: App) -> None:
    say = {"model": "m", "messages": [{"role": "user", "content": "x" * (1024 * 1024)}]}
    assert app.call("POST", TALK, say, headers=KEY).status == 200
    assert "idempotency-replayed" not in app.call("POST", TALK, say, headers=KEY).headers


def test_after_24_hours_the_key_is_free(app: App, clock: FakeClock) -> None:
    app.call("POST", TALK, SAY, headers=KEY)
    clock.advance(24 * 3600 - 1)
    assert "idempotency-replayed" in app.call("POST", TALK, SAY, headers=KEY).headers
    clock.advance(1)
    assert app.call("POST", TALK, {**SAY, "model": "n"}, headers=KEY).status == 200


def test_answers_older_than_24_hours_are_dropped_as_new_ones_come(app: App, clock: FakeClock) -> None:
    for number in range(3):
        app.call("POST", TALK, SAY, headers={"Idempotency-Key": f"old-{number}"})
    clock.advance(24 * 3600)
    app.call("POST", TALK, SAY, headers=KEY)
    with app.parts.store.read() as db:
        assert db.value("SELECT COUNT(*) FROM idempotency") == 1


def test_while_it_runs_the_same_request_is_409_and_another_422(app: App) -> None:
    started, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        started.set()
        assert go_on.wait(10)

    app.does.on_talk = wait
    with ThreadPoolExecutor() as pool:
        first = pool.submit(app.call, "POST", TALK, SAY, headers=KEY)
        assert started.wait(10)
        got = app.call("POST", TALK, SAY, headers=KEY)
        assert (got.status, got.error["type"], got.error["retry_after"]) == (409, "conflict", 1)
        assert app.call("POST", TALK, {**SAY, "model": "n"}, headers=KEY).status == 422
        go_on.set()
        assert first.result().status == 200
    assert app.call("POST", TALK, SAY, headers=KEY).body == first.result().body


def test_of_many_at_once_one_is_done(app: App) -> None:
    together = threading.Barrier(8)

    def post(target: str, body: object) -> int:
        together.wait(10)
        return app.call("POST", target, body, headers=KEY).status

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: post(THINGS, {"name": "a"}), range(8)))
    assert made == [201] * 8
    assert app.does.calls == 1
    key = app.key = app.new_key()
    assert key
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: post(TALK, SAY), range(8)))
    assert set(said) <= {200, 409}
    assert app.does.calls == 2


def test_a_stream_is_guarded_and_not_replayed(app: App) -> None:
    seen: list[tuple[int, object]] = []

    def repeat() -> None:
        got = app.call("POST", TALK, {**SAY, "stream": True}, headers=KEY)
        seen.append((got.status, got.error["details"].get("id")))

    app.does.source = lambda: ScriptedSource(None, b"{}", waited=repeat)
    assert app.call("POST", TALK, {**SAY, "stream": True}, headers=KEY).body.endswith(b"data: [DONE]\n\n")
    repeat()
    assert seen == [(409, "resp-1"), (409, "resp-1")]
    assert app.does.calls == 1


def test_a_stream_that_fails_before_its_first_byte_may_be_asked_for_again(app: App) -> None:
    def fail(_: object) -> None:
        raise ServiceUnavailable("Queue full.", retry_after=1)

    app.does.on_talk = fail
    assert app.call("POST", TALK, {**SAY, "stream": True}, headers=KEY).status == 503
    app.does.on_talk = lambda _: None
    assert app.call("POST", TALK, {**SAY, "stream": True}, headers=KEY).status == 200


def test_a_stream_that_a_crash_interrupted_may_be_asked_for_again(app: App) -> None:
    with app.parts.store.transaction() as tx:
        for key, state in (("one", "running"), ("two", "done")):
            tx.run(
                "INSERT INTO idempotency VALUES ('c', ?, x'00', ?, NULL, NULL, NULL, 'resp-1', ?)", key, state, tx.now()
            )
        idempotency.forget_interrupted(tx)
        assert tx.all("SELECT key FROM idempotency") == [("two",)]


def test_a_store_that_can_not_be_written_does_not_cost_the_answer(app: App) -> None:
    import contextlib
    from collections.abc import Iterator

    from secureai_appliance.store import Store, Transaction

    class Full(Store):
        @contextlib.contextmanager
        def transaction(self) -> Iterator[Transaction]:
            raise ServiceUnavailable("Storage can't be written.", retry_after=5)
            yield

    app.parts.store.__class__ = Full
    try:
        assert app.call("POST", TALK, SAY, headers=KEY).status == 200
        assert app.call("POST", TALK, {**SAY, "stream": True}, headers={"Idempotency-Key": "s"}).status == 200
        got = app.call("POST", THINGS, {"name": "a"}, headers={"Idempotency-Key": "t"})
        assert (got.status, got.error["retry_after"]) == (503, 5)
    finally:
        app.parts.store.__class__ = Store
