"""The server itself, through raw sockets: what it refuses, hang-ups, slow clients, many connections, the stop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from secureai_appliance.settings import Settings
from secureai_appliance.web import channel as channel_module
from secureai_appliance.web import server as server_module
from secureai_appliance.web.channel import Channel
from secureai_appliance.web.server import Server
from tests.support.clock import FakeClock
from tests.support.web import App, app_on
from tests.support.web_client import Client, request_bytes, serving, talk
from tests.support.web_routes import FloodSource, HeldSource

MB = 1024 * 1024


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    """Where a body has at most 16 MB."""
    with app_on(tmp_path, clock, Settings(max_upload=16)) as app:
        yield app


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with closing(Client(server.port)) as client:
        yield client


REFUSED: list[tuple[str, bytes, int, str]] = [
    ("nonsense", b"nonsense\r\n\r\n", 400, "validation_error"),
    ("binary", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "validation_error"),
    ("small letters", b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "validation_error"),
    ("odd header", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", 400, "validation_error"),
    ("bare line feed", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "validation_error"),
    ("length of words", b"POST / HTTP/1.1\r\nContent-Length: two\r\n\r\n", 400, "validation_error"),
    ("two lengths", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "validation_error"),
    ("huge length", b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "validation_error"),
    ("odd address", b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "validation_error"),
    (
        "length and chunks",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "validation_error",
    ),
    ("chunks in 1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "validation_error"),
    ("odd chunk", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "validation_error"),
    (
        "endless chunk line",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 20_000,
        400,
        "validation_error",
    ),
    (
        "endless trailer",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 10_000,
        400,
        "validation_error",
    ),
    ("gzip transfer", b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
    ("large headers", b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
    ("large line", b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 431, "headers_too_large"),
    ("large body", b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413, "payload_too_large"),
    (
        "large body, asked first",
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n",
        413,
        "payload_too_large",
    ),
]


@pytest.mark.parametrize(("data", "status", "kind"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_the_server_refuses_itself_has_the_one_shape(client: Client, data: bytes, status: int, kind: str) -> None:
    client.send(data)
    got = client.receive()
    assert (got.status, got.error["type"]) == (status, kind)
    assert got.headers["connection"] == "close"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert b"waitress" not in got.body
    assert got.headers["server"] == "SecureAI"


def test_a_client_that_sends_too_much_still_reads_why(client: Client) -> None:
    head = b"POST /api/v1/talk HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (20 * MB)
    client.send(head + b"x" * (20 * MB))
    assert client.receive().error["type"] == "payload_too_large"


def test_a_chunked_body_over_the_bound_is_refused(client: Client) -> None:
    client.send(b"POST /api/v1/talk HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"%x\r\n" % MB + b"x" * MB + b"\r\n"
    for _ in range(17):
        client.send(piece)
    assert client.receive().error["type"] == "payload_too_large"


def test_a_chunked_body_is_read(app: App, client: Client) -> None:
    body = b'{"name": "a"}'
    head = request_bytes("POST", "/api/v1/things", b"", "Content-Type: application/json", "Transfer-Encoding: chunked")
    head = head.replace(b"\r\n\r\n", f"\r\nAuthorization: Bearer {app.key}\r\n\r\n".encode())
    client.send(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    assert client.receive().status == 201


def test_a_body_that_waits_to_be_asked_for_is_asked_for(app: App, client: Client) -> None:
    message = request_bytes(
        "POST", "/api/v1/things", b'{"name": "a"}', f"Authorization: Bearer {app.key}", "Expect: 100-continue"
    )
    head, _, body = message.partition(b"\r\n\r\n")
    client.send(head + b"\r\n\r\n")
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body)
    assert client.receive().status == 201


def test_expecting_to_continue_without_a_body_is_answered(client: Client) -> None:
    assert client.request("GET", "/healthz", b"", "Expect: 100-continue").status == 200


def test_an_answer_leaves_in_one_piece_with_all_its_headers(
    app: App, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[bytes] = []
    write = Channel.write_soon

    def noted(channel: Channel, data: bytes) -> int:
        pieces.append(data)
        return write(channel, data)

    monkeypatch.setattr(Channel, "write_soon", noted)
    answer = client.request("GET", "/api/v1/things", b"", f"Authorization: Bearer {app.key}")
    assert len(pieces) == 1
    assert pieces[0].endswith(b"\r\n\r\n" + answer.body)
    assert {"date", "server", "content-length", "etag", "x-request-id", "x-ratelimit-limit"} <= answer.headers.keys()


def test_answers_without_a_body_leave_the_connection_open(app: App, client: Client) -> None:
    own = f"Authorization: Bearer {app.key}"
    tag = client.request("GET", "/api/v1/things", b"", own).headers["etag"]
    unchanged = client.request("GET", "/api/v1/things", b"", own, f"If-None-Match: {tag}")
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert not {"content-length", "transfer-encoding", "connection"} & unchanged.headers.keys()
    assert client.request("OPTIONS", "/api/v1/things").status == 204
    assert client.request("GET", "/healthz").status == 200


def test_requests_follow_each_other_on_one_connection(client: Client) -> None:
    client.send(request_bytes("GET", "/healthz") * 3)
    assert [client.receive().status for _ in range(3)] == [200] * 3
    assert client.request("HEAD", "/nothing").status == 404


def test_a_foreign_forwarded_header_is_not_believed(app: App, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "secureai_appliance.access")
    client.request("GET", "/healthz", b"", "X-Forwarded-For: 203.0.113.9")
    client.close()
    assert "203.0.113.9" not in caplog.text


def test_a_stream_arrives_byte_by_byte_and_ends_with_done(app: App, client: Client) -> None:
    source = HeldSource()
    app.does.source = lambda: source
    client.send(talk(app))
    assert b"text/event-stream" in client.until(b"\r\n\r\n")
    client.until(b": ping\n\n")
    assert not source.closed.is_set()
    source.go_on.set()
    assert client.rest().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert source.closed.wait(5)


def test_a_hang_up_closes_the_source_of_a_silent_stream_at_once(app: App, client: Client) -> None:
    source = HeldSource()
    app.does.source = lambda: source
    client.send(talk(app))
    client.until(b": ping\n\n")
    client.close()
    assert source.closed.wait(5)


def test_a_hang_up_is_seen_by_a_handler_that_waits(app: App, client: Client) -> None:
    started, saw = threading.Event(), threading.Event()

    def wait(request: object) -> None:
        started.set()
        for _ in range(500):
            if request.disconnected():  # type: ignore[attr-defined]
                saw.set()
                return
            threading.Event().wait(0.01)

    app.does.on_talk = wait
    client.send(talk(app).replace(b'"stream": true', b'"stream":false'))
    assert started.wait(5)
    client.close()
    assert saw.wait(5)


def test_a_client_that_does_not_read_is_given_up(app: App, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "STALL_SECONDS", 0.2)
    source = FloodSource()
    app.does.source = lambda: source
    client.send(talk(app))
    assert source.closed.wait(10)


def test_with_all_places_taken_the_rest_still_answers(tmp_path: Path, clock: FakeClock) -> None:
    sources = [HeldSource() for _ in range(4)]
    with app_on(tmp_path, clock, Settings(max_streams=4)) as app, serving(app) as server:
        left = list(sources)
        app.does.source = left.pop
        held = [Client(server.port) for _ in sources]
        for client in held:
            client.send(talk(app))
            client.until(b": ping\n\n")
        with closing(Client(server.port)) as other:
            other.send(talk(app))
            assert other.receive().status == 503
            assert other.request("GET", "/healthz").status == 200
        for client in held:
            client.close()
        assert all(source.closed.wait(5) for source in sources)


def many_connections(server: Server, idle: int, dripping: int) -> None:
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(idle + dripping)]
    try:
        for count, slow in enumerate(sockets[:dripping]):
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "[: 10 + count % 40])
        for _ in range(5):
            with closing(Client(server.port)) as client:
                assert client.request("GET", "/healthz").status == 200
            for slow in sockets[:dripping]:
                slow.sendall(b"x")
    finally:
        for each in sockets:
            each.close()


def test_many_idle_and_dripping_connections_delay_nobody(server: Server) -> None:
    many_connections(server, idle=100, dripping=10)


@pytest.mark.soak
def test_500_idle_and_50_dripping_connections_delay_nobody(server: Server) -> None:
    many_connections(server, idle=500, dripping=50)


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /healthz HT",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST /api/v1/talk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n12",
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_refused(
    client: Client, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "HEADER_SECONDS", 0.1)
    client.send(begun)
    got = client.receive()
    assert (got.status, got.error["type"]) == (408, "request_timeout")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.rest() == b""


def test_bodies_that_are_still_coming_are_bounded_together(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "UNFINISHED_BYTES", 2 * MB)
    half = b"POST /api/v1/talk HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n" + b"x" * MB
    client.send(half)
    with closing(Client(server.port)) as second, closing(Client(server.port)) as third:
        for each in (second, third):
            each.send(half)
        for each in (client, second, third):
            got = each.receive()
            assert (got.status, got.error["type"]) == (503, "service_unavailable")
    with closing(Client(server.port)) as after:
        assert after.request("GET", "/healthz").status == 200


def test_a_connection_that_can_not_be_taken_does_not_end_the_listening(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(channel_module.Channel, "__init__", fail)
        with closing(Client(server.port)) as lost:
            assert lost.socket.recv(1) == b""
    with closing(Client(server.port)) as client:
        assert client.request("GET", "/healthz").status == 200
    assert "could not be taken" in caplog.text


def test_one_address_has_a_bounded_number_of_connections(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_PER_ADDRESS", 3)
    clients = [Client(server.port) for _ in range(3)]
    for client in clients:
        assert client.request("GET", "/healthz").status == 200
    with closing(Client(server.port)) as over:
        assert over.socket.recv(1) == b""
    clients.pop().close()
    # the place is free again as soon as the server has seen the close
    for _ in range(100):
        with closing(Client(server.port)) as again, suppress(ConnectionError):
            again.send(request_bytes("GET", "/healthz"))
            if again.socket.recv(1):
                break
    else:
        pytest.fail("the place was not given back")
    for client in clients:
        client.close()
