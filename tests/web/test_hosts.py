"""Whose requests are answered, and whose they are said to be."""

from __future__ import annotations

import socket

import pytest

from secureai_appliance.core.errors import MisdirectedRequest, ValidationError
from secureai_appliance.settings import Settings
from secureai_appliance.web.hosts import HostCheck, Proxies, counted_as

PUBLIC = Settings(public_url="https://ai.example.test:8443/base")


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "192.168.1.5",
        "[fe80::1]", "ai.example.test", "AI.example.test:8443", socket.gethostname(),
    ],
)  # fmt: skip
def test_our_names_and_any_address_are_answered(host: str) -> None:
    HostCheck(PUBLIC).check({"HTTP_HOST": host, "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_URI": "/"})


@pytest.mark.parametrize(
    "host",
    ["evil.example", "ai.example.test.evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "1.2.3"],
)
def test_other_names_are_misdirected(host: str) -> None:
    with pytest.raises(MisdirectedRequest):
        HostCheck(PUBLIC).check({"HTTP_HOST": host, "SERVER_PROTOCOL": "HTTP/1.1"})


@pytest.mark.parametrize(
    "host", ["a b", "localhost, evil.example", "localhost@evil.example", "[localhost]", "a:b", "é"]
)
def test_what_is_no_host_is_malformed(host: str) -> None:
    with pytest.raises(ValidationError):
        HostCheck(PUBLIC).check({"HTTP_HOST": host, "SERVER_PROTOCOL": "HTTP/1.1"})


def test_the_request_line_counts_before_the_header() -> None:
    with pytest.raises(MisdirectedRequest):
        HostCheck(PUBLIC).check({"HTTP_HOST": "localhost", "REQUEST_URI": "http://evil.example/healthz"})
    HostCheck(PUBLIC).check({"HTTP_HOST": "localhost", "REQUEST_URI": "/x?next=http://evil.example/"})


def test_http_1_0_may_come_without_a_host() -> None:
    HostCheck(PUBLIC).check({"SERVER_PROTOCOL": "HTTP/1.0"})


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
    ],
)
def test_the_client_is_the_peer_or_what_trusted_proxies_say(peer: str, forwarded: str, client: str) -> None:
    proxies = Proxies(("10.0.0.0/24",))
    assert proxies.client({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}) == client


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one_client(address: str, counted: str) -> None:
    assert counted_as(address) == counted
