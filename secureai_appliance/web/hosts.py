"""Which `Host` is ours, and who the client is: both from headers that anybody can write."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from secureai_appliance.core.errors import MisdirectedRequest, ValidationError
from secureai_appliance.settings import Settings

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
_LONGEST_ADDRESS = 100


class HostCheck:
    """Refuses names that are not ours, so that a web page can't reach us through a name of its own (DNS rebinding).

    Addresses are always fine: a browser sends one only where the address itself was asked for.
    """

    def __init__(self, settings: Settings) -> None:
        machine = socket.gethostname().lower()
        short = machine.partition(".")[0]
        names = {"localhost", machine, short, f"{short}.local", settings.host.lower()}
        if settings.public_url:
            names.add((urlsplit(settings.public_url).hostname or "").lower())
        self._names = frozenset(names - {""})

    def check(self, environ: dict[str, Any]) -> None:
        """Raise MisdirectedRequest for a name that is not ours, ValidationError when HTTP/1.1 comes without a host."""
        given = _authority(environ.get("REQUEST_URI", "")) or environ.get("HTTP_HOST", "")
        if not given:
            if environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
                raise ValidationError("The request has no Host header.", field="Host", constraint="required")
            return
        match = _HOST.fullmatch(given)
        if match is None:
            raise ValidationError("The Host header is malformed.", field="Host", constraint="format")
        if _is_address(match["v6"] or match["name"]) or match["name"].lower().rstrip(".") in self._names:
            return
        raise MisdirectedRequest(
            "This name is not one of the server's: set public_url to the address that clients use.",
        )


def _authority(request_uri: str) -> str:
    """The host of a request line in absolute form, which counts before the header (RFC 9112, 3.2.2)."""
    scheme, separator, rest = request_uri.partition("://")
    if not separator or "/" in scheme or "?" in scheme:
        return ""
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _is_address(text: str) -> bool:
    return len(text) <= _LONGEST_ADDRESS and _parses(text)


# a client sends the same name with each request
@lru_cache(maxsize=1024)
def _parses(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def counted_as(address: str) -> str:
    """Under which name an address counts for bounds: of IPv6 the /64, which one client has to itself, else the address.

    An IPv4 address in IPv6 form counts as what it is.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Proxies:
    """The reverse proxies whose `X-Forwarded-For` is believed: addresses or networks."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """Raises ValueError for what is neither an address nor a network."""
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)

    def trust(self, address: str) -> bool:
        """Whether `address` is one of them."""
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def client(self, environ: dict[str, Any]) -> str:
        """The client's address: the peer's, or the last one in `X-Forwarded-For` that is not a trusted proxy's."""
        client: str = environ.get("REMOTE_ADDR", "")
        if not self._networks:
            return client
        forwarded = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        while forwarded and self.trust(client) and _is_address(forwarded[-1]):
            client = forwarded.pop()
        return client
