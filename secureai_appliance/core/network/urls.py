"""Where an address leads, before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from secureai_appliance.core.network.failures import InvalidUrl

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """A checked address: `host` in ASCII, `path` with the query."""

    scheme: str
    host: str
    port: int
    path: str


def parse_url(url: str) -> Target:
    """Where `url` leads. Raises InvalidUrl; a password in an address is refused, because addresses are shown."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if not is_ipv6(parts.hostname) else parts.hostname or ""
    except ValueError as cause:
        raise InvalidUrl("The address is not a URL.") from cause
    if parts.scheme not in _PORTS or not host:
        raise InvalidUrl("The address must begin with http:// or https:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrl("The address must not hold a user name or a password.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # the host may have other letters: it goes out as ASCII
    if not url.isprintable() or not path.isascii() or " " in url or "\\" in url:
        raise InvalidUrl("The address holds characters that a URL has not.")
    if port == 0:
        raise InvalidUrl("The address has the port 0.")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def is_ipv6(host: str | None) -> bool:
    """Whether a host is written as an address of IPv6."""
    return host is not None and ":" in host
