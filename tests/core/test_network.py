"""The outbound door, against real sockets on the loopback interface."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secureai_appliance.core import network
from secureai_appliance.core.network import (
    AddressPolicy,
    Blocked,
    Cancelled,
    Door,
    InvalidUrl,
    TimedOut,
    Timeouts,
    TooLarge,
    Unreachable,
    networks,
)
from tests.support.scripted import Heard, Line, Scripted, scripted

SHORT = Timeouts(connect=5, read=0.1, total=None)


def hello(heard: Heard, line: Line) -> None:
    line.answer(200, b"hello", {"X-Shown": "yes"})


@pytest.fixture(scope="module")
def shared() -> Iterator[Scripted]:
    with scripted(hello) as started:
        yield started


@pytest.fixture
def server(shared: Scripted) -> Scripted:
    shared.script = hello
    shared.heard.clear()
    return shared


def test_an_answer_comes_back_whole_with_its_status_and_headers(server: Scripted) -> None:
    answer = Door().request("POST", f"{server.url}/a?b=c", headers={"X-Mine": "1"}, body=b"sent")
    assert (answer.status, answer.headers["x-shown"], answer.body) == (200, "yes", b"hello")
    heard = server.heard[0]
    assert (heard.method, heard.path, heard.body) == ("POST", "/a?b=c", b"sent")
    assert (heard.headers["host"], heard.headers["x-mine"]) == (f"127.0.0.1:{server.port}", "1")


def test_an_error_is_an_answer_too(server: Scripted) -> None:
    server.script = lambda _, line: line.answer(503, b"busy", {"Retry-After": "7"})
    answer = Door().request("GET", server.url)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "7")


def test_a_redirect_is_not_followed(server: Scripted) -> None:
    server.script = lambda _, line: line.answer(302, b"", {"Location": f"{server.url}/elsewhere"})
    assert Door().request("GET", server.url).status == 302
    assert [heard.path for heard in server.heard] == ["/"]


def test_proxies_of_the_environment_are_not_used(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Door().request("GET", server.url).status == 200


# which addresses


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"),
        *("100.100.100.200", "168.63.129.16", "::", "fe80::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
        *("::169.254.169.254", "64:ff9b:1::a9fe:a9fe"),
    ],
)
def test_what_is_never_dialled_is_not_opened_by_an_exception(address: str) -> None:
    open_to_all = AddressPolicy(allow=networks(["0.0.0.0/0", "::/0"]))
    assert not open_to_all.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("policy", "address", "permitted"),
    [
        (AddressPolicy(), "192.168.1.5", True),
        (AddressPolicy(), "127.0.0.1", True),
        (AddressPolicy(), "::1", True),
        (AddressPolicy(private=False), "10.1.2.3", False),
        (AddressPolicy(private=False), "::1", False),
        (AddressPolicy(private=False), "::ffff:127.0.0.1", False),
        (AddressPolicy(private=False), "fd12::1", False),
        (AddressPolicy(private=False), "64:ff9b::7f00:1", False),
        (AddressPolicy(private=False), "::127.0.0.1", False),
        (AddressPolicy(private=False), "203.0.113.7", True),
        (AddressPolicy(private=False, allow=networks(["10.1.0.0/16"])), "10.1.2.3", True),
        (AddressPolicy(private=False, allow=networks(["10.1.0.0/16"])), "10.2.2.3", False),
        (AddressPolicy(deny=networks(["10.0.0.0/8"])), "10.1.2.3", False),
        (AddressPolicy(deny=networks(["10.0.0.0/8"])), "::ffff:10.1.2.3", False),
        (AddressPolicy(deny=networks(["10.0.0.0/8"]), allow=networks(["10.1.2.3"])), "10.1.2.3", True),
    ],
)
def test_a_policy_narrows_and_makes_exceptions(policy: AddressPolicy, address: str, permitted: bool) -> None:
    assert policy.permits(ipaddress.ip_address(address)) is permitted


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "localhost"])
def test_however_an_address_is_written_it_is_checked_as_what_it_is(server: Scripted, host: str) -> None:
    with pytest.raises(Blocked):
        Door(lambda: AddressPolicy(private=False)).request("GET", f"http://{host}:{server.port}/")
    assert server.heard == []


def test_a_metadata_address_in_decimal_is_blocked() -> None:
    with pytest.raises(Blocked):
        Door().request("GET", "http://2852039166/latest/meta-data/")


def test_the_address_that_was_checked_is_the_one_that_is_dialled(server: Scripted) -> None:
    """A name that answers otherwise when it is asked again leads nowhere else: it is asked once."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked: list[str] = []

    def rebind(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    answer = Door(resolve=rebind).request("GET", f"http://rebound.example:{server.port}/")
    assert (answer.status, asked) == (200, ["rebound.example"])
    assert server.heard[0].headers["host"] == f"rebound.example:{server.port}"


def test_a_name_with_one_forbidden_address_among_others_is_blocked(server: Scripted) -> None:
    with pytest.raises(Blocked):
        Door(resolve=lambda *_: ["127.0.0.1", "169.254.169.254"]).request("GET", f"http://both.example:{server.port}/")
    assert server.heard == []


def test_the_next_address_of_a_name_is_tried(server: Scripted) -> None:
    # ::1 has nobody on this port
    answer = Door(resolve=lambda *_: ["::1", "127.0.0.1"]).request("GET", f"http://two.example:{server.port}/")
    assert answer.body == b"hello"


@pytest.mark.parametrize(
    "url",
    [
        *("", "/path", "ftp://host/", "file:///etc/passwd", "http://", "http://user:word@host/", "http://host:0/"),
        *("http://host:99999/", "http://ho st/", "http://host/\r\nX: y", "http://host\\@other/", "http://host/ü"),
        "http://[::1/",
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(InvalidUrl):
        network.parse_url(url)


def test_headers_that_frame_a_message_are_the_doors_own(server: Scripted) -> None:
    for name in ("Host", "content-length", "Transfer-Encoding"):
        with pytest.raises(ValueError, match="sets these headers itself"):
            Door().request("GET", server.url, headers={name: "x"})


# time and size


def test_a_server_that_hangs_is_given_up(server: Scripted) -> None:
    server.script = lambda _, line: line.hang()
    with pytest.raises(TimedOut):
        Door().request("GET", server.url, timeouts=SHORT)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
def test_a_server_that_drips_is_given_up_at_the_total_time_out(server: Scripted, start: bytes) -> None:
    def drip(_: Heard, line: Line) -> None:
        line.send(start)
        while True:
            line.send(b"a:\r\n")

    server.script = drip
    with pytest.raises((TimedOut, Unreachable)):
        Door().request("GET", server.url, timeouts=Timeouts(read=5, total=0.2), max_bytes=1 << 40)


def test_a_name_that_is_not_resolved_in_time_is_given_up() -> None:
    never = threading.Event()

    def stuck(host: str, port: int) -> list[str]:
        never.wait()
        return []

    with pytest.raises(TimedOut, match="was not resolved"):
        Door(resolve=stuck).request("GET", "http://slow.example/", timeouts=Timeouts(connect=0.05))
    never.set()


def test_an_endless_body_is_cut_off(server: Scripted) -> None:
    def endless(_: Heard, line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            line.send(bytes(4096))

    server.script = endless
    with pytest.raises(TooLarge):
        Door().request("GET", server.url, max_bytes=10_000)


def test_a_length_over_the_bound_is_refused_before_it_is_read(server: Scripted) -> None:
    server.script = lambda _, line: line.answer(200, bytes(2000))
    with Door().stream("GET", server.url, max_bytes=1000) as call, pytest.raises(TooLarge):
        call.open()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_an_error(server: Scripted, answer: bytes) -> None:
    server.script = lambda _, line: line.send(answer)
    with pytest.raises(Unreachable):
        Door().request("GET", server.url)


def test_nobody_there_and_no_such_name_say_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=f"refuses connections on port {port}"):
        Door().request("GET", f"http://127.0.0.1:{port}/")

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(Unreachable, match="can't be resolved"):
        Door(resolve=unknown).request("GET", "http://nowhere.example/")


# piece by piece


def test_a_stream_is_read_as_it_comes(server: Scripted) -> None:
    go_on = threading.Event()

    def slowly(_: Heard, line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        go_on.wait()
        line.send(b"6\r\nsecond\r\n0\r\n\r\n")

    server.script = slowly
    with Door().stream("GET", server.url) as call:
        assert call.open() == 200
        assert call.read() == b"first"
        go_on.set()
        assert list(call) == [b"second"]


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst"], ids=["waiting", "reading"]
)
def test_a_call_is_cancelled_from_another_thread_and_the_server_is_told(server: Scripted, head: bytes) -> None:
    began = threading.Event()

    def hang(_: Heard, line: Line) -> None:
        line.send(head)
        began.set()
        line.hang()

    server.script = hang
    while server.ended.acquire(blocking=False):
        continue
    with Door().stream("GET", server.url) as call:
        threading.Thread(target=lambda: (began.wait(), call.cancel())).start()
        with pytest.raises(Cancelled):
            call.open()
            list(call)
        # the connection is gone before the call is closed
        assert server.ended.acquire(timeout=10)


def test_a_call_that_was_cancelled_before_it_began_dials_nobody(server: Scripted) -> None:
    with Door().stream("GET", server.url) as call:
        call.cancel()
        with pytest.raises(Cancelled):
            call.open()
    assert server.heard == []


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of `named.example`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "named.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("named.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_the_certificate_has_to_be_of_the_name_that_was_asked_for(certificate: Path) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    names: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: names.append(name)
    believed = ssl.create_default_context(cafile=certificate)
    with scripted(hello, serving) as server:

        def ask(host: str, tls: ssl.SSLContext | None = None) -> bytes:
            door = Door(resolve=lambda *_: ["127.0.0.1"], tls=tls)
            return door.request("GET", f"https://{host}:{server.port}/").body

        assert ask("named.example", believed) == b"hello"
        assert names == ["named.example"]
        assert server.heard[0].headers["host"] == f"named.example:{server.port}"
        with pytest.raises(Unreachable, match=r"certificate of 'other\.example' is not believed"):
            ask("other.example", believed)
        with pytest.raises(Unreachable, match="is not believed"):
            ask("named.example")


def test_a_call_over_tls_is_cancelled_too(certificate: Path) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    with scripted(lambda _, line: line.hang(), serving) as server:
        door = Door(resolve=lambda *_: ["127.0.0.1"], tls=ssl.create_default_context(cafile=certificate))
        with door.stream("GET", f"https://named.example:{server.port}/") as call:
            threading.Thread(target=lambda: (_heard(server), call.cancel())).start()
            with pytest.raises(Cancelled):
                call.open()
            assert server.ended.acquire(timeout=10)


def _heard(server: Scripted) -> None:
    while not server.heard:
        threading.Event().wait(0.001)
