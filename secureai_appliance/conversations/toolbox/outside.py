"""Which servers tools may reach: hosts that an administrator listed, never the appliance itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.core.network import (
    Address,
    AddressPolicy,
    Blocked,
    Call,
    Cancelled,
    Door,
    InvalidUrl,
    NetworkError,
    Resolve,
    Target,
    TimedOut,
    Timeouts,
    TooLarge,
    networks,
    parse_url,
    system_resolve,
)

MAX_BYTES = 1024 * 1024
_CODES: dict[type[NetworkError], str] = {
    Blocked: "blocked",
    TimedOut: "timeout",
    TooLarge: "too_large",
    Cancelled: "cancelled",
    InvalidUrl: "invalid_url",
}


@dataclass(frozen=True)
class _Policy(AddressPolicy):
    """The appliance's own policy, and besides no address of this machine where its own port is meant."""

    own_port: bool = False

    def permits(self, address: Address) -> bool:
        return super().permits(address) and not (self.own_port and _is_ours(address))


class Outside:
    """The door for tools. Safe to use from any thread."""

    def __init__(
        self, values: Callable[[], Mapping[str, Any]], own: Sequence[tuple[str, int]], resolve: Resolve = system_resolve
    ) -> None:
        """`values`: the settings now. `own`: host and port of the listener, and of the address that clients use."""
        self._values = values
        self._own = own
        self._ports = {port for _, port in own}
        # two, because a policy does not know the port
        self._doors = {
            own_port: Door(lambda own_port=own_port: self._policy(own_port), resolve=resolve)  # type: ignore[misc]
            for own_port in (False, True)
        }

    def check(self, url: str) -> Target:
        """Where the address leads. Raises ToolFailure when tools may not go there."""
        try:
            target = parse_url(url)
        except InvalidUrl as cause:
            raise ToolFailure("invalid_url", cause.message) from cause
        if (target.host, target.port) in self._own:
            raise ToolFailure("blocked", "Tools can't call the appliance itself.")
        if not any(_is_listed(target, entry) for entry in self._values()["tools.allowed_hosts"]):
            raise ToolFailure(
                "blocked",
                f"The host '{target.host}' is none that an administrator has allowed (tools.allowed_hosts).",
            )
        return target

    def stream(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeouts: Timeouts) -> Call:
        """A request that is not sent yet. Raises ToolFailure, and when it is sent NetworkError."""
        target = self.check(url)
        door = self._doors[target.port in self._ports]
        return door.stream(method, url, headers=headers, body=body, timeouts=timeouts, max_bytes=MAX_BYTES)

    def _policy(self, own_port: bool) -> AddressPolicy:
        values = self._values()
        return _Policy(
            values["outbound.private"],
            networks(values["outbound.allow"]),
            networks(values["outbound.deny"]),
            own_port=own_port,
        )


def failure_of(cause: NetworkError) -> ToolFailure:
    """What a tool is told when its server could not be asked."""
    return ToolFailure(_CODES.get(type(cause), "unreachable"), cause.message)


def _is_listed(target: Target, entry: str) -> bool:
    listed = parse_url(f"{target.scheme}://{entry}")
    with_port = not entry.endswith("]") and ":" in entry.rpartition("]")[2]
    return listed.host.lower() == target.host.lower() and (not with_port or listed.port == target.port)


def _is_ours(address: Address) -> bool:
    """Whether it is an address of this machine: then, and only then, something can listen on it."""
    mapped = getattr(address, "ipv4_mapped", None)
    meant = mapped if mapped is not None else address
    family = socket.AF_INET if meant.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((str(meant), 0))
        except OSError:
            return False
    return True
