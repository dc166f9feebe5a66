"""Which addresses may be dialled."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


NEVER = _networks(
    *("0.0.0.0/8", "::/128"),  # this host, whatever that is
    *("169.254.0.0/16", "fe80::/10"),  # link-local, and most clouds' metadata
    *("224.0.0.0/4", "ff00::/8", "240.0.0.0/4"),  # multicast, reserved, broadcast
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),  # metadata of Alibaba, Azure, Oracle
    *("fd00:ec2::/32", "fd20:ce::/32"),  # metadata of AWS and Google over IPv6
)
"""Addresses that no policy opens."""

_PRIVATE = _networks(
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "192.0.0.0/24"),
    *("198.18.0.0/15", "fc00::/7", "fec0::/10", "::1/128"),
)
# an IPv4 address is their last 32 bits: translated (RFC 6052, RFC 8215), and the old "compatible" form (RFC 4291)
_ENDS_IN_IPV4 = _networks("64:ff9b::/96", "64:ff9b:1::/48", "::/96")


@dataclass(frozen=True)
class AddressPolicy:
    """Which addresses may be dialled. What is in `NEVER` may not, whatever stands here.

    `private`: whether private and loopback addresses may. `deny` forbids networks, `allow` makes exceptions from both.
    """

    private: bool = True
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Whether an address may be dialled; an IPv4 address inside an IPv6 one counts as itself."""
        meant = _meant(address)
        if any(_inside(one, NEVER) for one in meant):
            return False
        if all(_inside(one, self.allow) for one in meant):
            return True
        if any(_inside(one, self.deny) for one in meant):
            return False
        return self.private or not any(_inside(one, _PRIVATE) for one in meant)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks such as `10.0.0.0/8`, for an AddressPolicy. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _inside(address: Address, among: tuple[Network, ...]) -> bool:
    return any(address in network for network in among)


def _meant(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that packets to it may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    meant: list[Address] = [address]
    if address.sixtofour is not None:
        meant.append(address.sixtofour)
    if address.teredo is not None:
        meant += address.teredo
    if _inside(address, _ENDS_IN_IPV4) and int(address) > 1:
        meant.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return meant
