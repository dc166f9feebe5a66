"""Promises 28, 29 and 31: what is delivered to real sockets, and receivers that mean no good."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from standardwebhooks import Webhook as Verifier

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.network import Door, Timeouts
from secureai_appliance.governance import deliveries, webhooks
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.courier import MOST_FAILING, READ_BYTES, WORKERS
from secureai_appliance.governance.deliveries import Attempt, Delivery, DeliveryQuery
from secureai_appliance.governance.webhooks import WebhookCreated
from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.running import PATIENCE
from tests.support.scripted import Heard, Line
from tests.support.webhooks import Post, Receiver, receiver, receiving

SHORT = Timeouts(connect=5, read=0.3, total=0.3)


@pytest.fixture
def good() -> Iterator[Receiver]:
    with receiver() as started:
        yield started


def make(store: Store, clock: FakeClock, door: Door | None = None) -> Post:
    return Post(store, clock, door, timeouts=SHORT)


@pytest.fixture
def post(store: Store, clock: FakeClock) -> Iterator[Post]:
    made = make(store, clock)
    yield made
    assert made.courier.stop(PATIENCE)


def delivery(post: Post, hook: WebhookCreated) -> Delivery:
    with post.store.read() as db:
        (found,) = deliveries.list_(db, hook.id, DeliveryQuery()).data
    return found


def attempt(post: Post, hook: WebhookCreated) -> Attempt:
    (found,) = delivery(post, hook).attempts
    return found


def test_the_id_stays_and_the_time_and_signatures_are_fresh_at_each_attempt(
    store: Store, clock: FakeClock, good: Receiver
) -> None:
    post = make(store, clock)
    clock.set(SystemClock().now() - 100)  # the library looks at the real time
    hook = post.hook(good.url)
    good.statuses = [500]
    post.emit("ada")
    post.turn()
    first = good.next()
    clock.advance(60)
    post.turn()
    second = good.next()
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == json.loads(first.body)["id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert first.headers["content-type"] == "application/json"
    for heard in (first, second):
        Verifier(hook.secret).verify(heard.body, heard.headers)
    assert [one.status for one in delivery(post, hook).attempts] == [500, 200]
    assert delivery(post, hook).attempts[1].response == "noted"
    post.courier.stop(PATIENCE)


def test_both_secrets_sign_while_rotating(store: Store, clock: FakeClock, good: Receiver) -> None:
    post = make(store, clock)
    clock.set(SystemClock().now() - 10)
    old = post.hook(good.url)
    with store.transaction() as tx:
        new = webhooks.rotate_secret(tx, post.sealer, SYSTEM, old.id)
    post.emit("ada")
    post.turn()
    heard = good.next()
    for secret in (old.secret, new.secret):
        Verifier(secret).verify(heard.body, heard.headers)
    post.courier.stop(PATIENCE)


def test_one_delivery_at_a_time_for_each_webhook(post: Post) -> None:
    running, most = 0, 0
    lock, go_on = threading.Lock(), threading.Semaphore(0)

    def count(heard: Heard, line: Line) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.acquire(timeout=PATIENCE)
        with lock:
            running -= 1
        line.answer(200, b"")

    with receiving(count) as url:
        post.hook(url)
        for n in range(4):
            post.emit(str(n))
        for _ in range(4):
            post.courier.step()
            post.courier.step()
            go_on.release()
            post.wait(1)
    assert most == 1


def hang(heard: Heard, line: Line) -> None:
    line.hang()


def drip(heard: Heard, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    stopped = threading.Event()
    while not stopped.wait(0.02):
        line.send(b"x")


def flood(heard: Heard, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
    for _ in range(160):
        line.send(bytes(65536))


def flood_unannounced(heard: Heard, line: Line) -> None:
    line.send(b"HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\n")
    for _ in range(160):
        line.send(bytes(65536))


def slam(heard: Heard, line: Line) -> None:
    line.send(b"HTTP/1.1 2")


HOSTILE = {"hang": hang, "drip": drip, "flood": flood, "flood unannounced": flood_unannounced, "slam": slam}


@pytest.mark.parametrize("how", HOSTILE, ids=str)
def test_a_hostile_receiver_is_contained_and_delays_no_other(post: Post, good: Receiver, how: str) -> None:
    with receiving(HOSTILE[how]) as url:
        bad, fine = post.hook(url), post.hook(good.url)
        post.emit("ada")
        post.courier.step()
        good.next()
        post.wait(2)
        told = attempt(post, bad)
        assert attempt(post, fine).status == 200
    expected = {"hang": None, "drip": None, "flood": 200, "flood unannounced": 500, "slam": None}
    assert told.status == expected[how]
    assert (told.error is None) == (told.status is not None)
    assert len(told.response) <= 1024 < READ_BYTES


def test_however_many_hang_the_healthy_ones_are_served(store: Store, clock: FakeClock, good: Receiver) -> None:
    held, reached = threading.Event(), threading.Semaphore(0)

    def hold(heard: Heard, line: Line) -> None:
        reached.release()
        held.wait(PATIENCE)

    post = Post(store, clock, timeouts=Timeouts(connect=5, read=PATIENCE, total=PATIENCE))
    with ExitStack() as stack:
        urls = [stack.enter_context(receiving(hold)) for _ in range(WORKERS + 2)]
        hooks = [post.hook(url) for url in urls]
        with store.transaction() as tx:
            tx.run("UPDATE webhooks SET failing_since = ?", tx.now())
        post.hook(good.url)
        post.emit("ada")
        post.courier.step()
        good.next()
        post.wait(1)
        for _ in range(MOST_FAILING):
            assert reached.acquire(timeout=PATIENCE)
        post.emit("bob")
        post.courier.step()
        good.next()
        assert not reached.acquire(blocking=False)
        assert len(hooks) > WORKERS
        held.set()
        assert post.courier.stop(PATIENCE)


def test_a_redirect_is_not_followed(post: Post, good: Receiver) -> None:
    with receiving(lambda _, line: line.answer(307, b"", {"Location": good.url})) as url:
        hook = post.hook(url)
        post.emit("ada")
        post.turn()
        assert (attempt(post, hook).status, delivery(post, hook).status) == (307, "pending")
    assert good.got.empty()


@pytest.mark.parametrize(
    ("url", "leads_to"),
    [
        ("http://hooks.example.org/", "169.254.169.254"),
        ("http://hooks.example.org/", "::ffff:169.254.169.254"),
        ("http://hooks.example.org/", "fe80::1"),
        ("http://169.254.169.254/latest/meta-data", None),
        ("http://2852039166/", None),
        ("http://0xa9fea9fe/", None),
    ],
)
def test_metadata_and_link_local_addresses_are_never_dialled(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, url: str, leads_to: str | None
) -> None:
    dialled: list[object] = []
    monkeypatch.setattr("socket.socket.connect", lambda self, address: dialled.append(address))
    door = Door(resolve=lambda host, port: [leads_to]) if leads_to else Door()
    post = make(store, clock, door)
    hook = post.hook(url)
    post.emit("ada")
    post.turn()
    assert attempt(post, hook).status is None
    assert "must not be dialled" in str(attempt(post, hook).error)
    assert dialled == []
    post.courier.stop(PATIENCE)


def test_the_address_that_was_checked_is_the_one_that_is_dialled(
    store: Store, clock: FakeClock, good: Receiver
) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    post = make(store, clock, Door(resolve=lambda host, port: answers.pop(0)))
    port = good.url.partition(":")[2].partition(":")[2].partition("/")[0]
    hook = post.hook(f"http://hooks.example.org:{port}/")
    post.emit("ada")
    post.turn()
    assert attempt(post, hook).status == 200
    assert good.next().headers["host"] == f"hooks.example.org:{port}"
    assert len(answers) == 1
    post.courier.stop(PATIENCE)


def test_a_stop_ends_what_runs_and_the_next_start_delivers_it(store: Store, clock: FakeClock, good: Receiver) -> None:
    reached = threading.Event()

    def hold(heard: Heard, line: Line) -> None:
        reached.set()
        line.hang()

    first = Post(store, clock, timeouts=Timeouts(connect=5, read=PATIENCE, total=PATIENCE))
    with receiving(hold) as url:
        hook = first.hook(url)
        first.emit("ada")
        first.courier.step()
        assert reached.wait(PATIENCE)
        assert first.courier.stop(PATIENCE)
    assert delivery(first, hook).attempts == []
    with store.transaction() as tx:
        tx.run("UPDATE webhooks SET url = ?", good.url)
    second = make(store, clock)
    second.turn()
    assert json.loads(good.next().body)["data"]["user_id"] == "ada"
    assert delivery(second, hook).status == "delivered"
    second.courier.stop(PATIENCE)


def test_an_outcome_that_cannot_be_stored_is_tried_again_later_and_not_at_once(
    post: Post, good: Receiver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = post.hook(good.url)
    post.emit("ada")

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "settle", fail)
        post.turn()
    good.next()
    post.courier.step()
    assert good.got.empty()
    clock.advance(31)
    post.turn()
    good.next()
    assert delivery(post, hook).status == "delivered"
