"""Ruling 34: only listed hosts, never the own listener, and the policy for addresses besides."""

from __future__ import annotations

from typing import Any

import pytest

from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.conversations.toolbox.outside import Outside
from secureai_appliance.core.network import Blocked, Timeouts
from tests.support.scripted import Heard, Line, scripted

OWN = 18080


def outside(*hosts: str, resolve: Any = None, **outbound: Any) -> Outside:
    values = {
        "tools.allowed_hosts": list(hosts),
        "outbound.private": outbound.get("private", True),
        "outbound.allow": outbound.get("allow", []),
        "outbound.deny": outbound.get("deny", []),
    }
    more = {} if resolve is None else {"resolve": resolve}
    return Outside(lambda: values, [("localhost", OWN), ("appliance.lan", 443)], **more)


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("parts.example.org", "https://parts.example.org/x", True),
        ("parts.example.org", "http://PARTS.example.org:8080/x", True),
        ("Parts.Example.org", "http://parts.example.org/x", True),
        ("parts.example.org:8080", "http://parts.example.org:8080/x", True),
        ("parts.example.org:8080", "http://parts.example.org/x", False),
        ("parts.example.org:443", "https://parts.example.org/x", True),
        ("[::1]", "http://[::1]:9/x", True),
        ("[::1]:9", "http://[::1]:8/x", False),
        ("example.org", "https://parts.example.org/x", False),
        ("parts.example.org", "https://parts.example.org.evil.test/x", False),
        ("parts.example.org", "https://parts.example.org@evil.test/x", False),
        ("localhost", f"http://localhost:{OWN}/api/v1/keys", False),
        ("appliance.lan", "https://appliance.lan/api/v1/keys", False),
    ],
)
def test_only_a_listed_host_is_reached(entry: str, url: str, allowed: bool) -> None:
    if allowed:
        outside(entry).check(url)
        return
    with pytest.raises(ToolFailure) as failure:
        outside(entry).check(url)
    assert failure.value.code in {"blocked", "invalid_url"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_no_name_of_this_machine_leads_to_the_own_listener(address: str) -> None:
    door = outside("innocent.example", resolve=lambda *_: [address])
    with door.stream("GET", f"http://innocent.example:{OWN}/", {}, None, Timeouts()) as call, pytest.raises(Blocked):
        call.open()


@pytest.mark.parametrize("outbound", [{"private": False}, {"deny": ["127.0.0.0/8"]}])
def test_the_policy_for_addresses_counts_for_tools_too(outbound: dict[str, Any]) -> None:
    def answer(_: Heard, line: Line) -> None:
        line.answer(200, b"inside")

    with scripted(answer) as server:
        door = outside("127.0.0.1", **outbound)
        with door.stream("GET", server.url, {}, None, Timeouts()) as call, pytest.raises(Blocked):
            call.open()
        assert not server.heard
        with outside("127.0.0.1").stream("GET", server.url, {}, None, Timeouts()) as call:
            assert call.open() == 200


def test_what_is_never_dialled_is_not_for_tools_either() -> None:
    door = outside("innocent.example", resolve=lambda *_: ["169.254.169.254"])
    with door.stream("GET", "http://innocent.example/", {}, None, Timeouts()) as call, pytest.raises(Blocked):
        call.open()
