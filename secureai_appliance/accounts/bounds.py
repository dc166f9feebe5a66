"""What a credential is bound to: scopes, an end, models, addresses. What it makes or changes is never bound less."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.clock import parse_rfc3339
from secureai_appliance.core.errors import PermissionDenied, ValidationError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_MODEL = 200


def scopes(caller: Caller, asked: list[str] | None) -> list[str] | None:
    """The scopes of a credential that the caller makes; None: all. Raises ValidationError, PermissionDenied."""
    if asked is None:
        return None if not caller.restricted else sorted(caller.permissions)
    for scope in asked:
        if scope not in PERMISSIONS:
            raise ValidationError(
                f"'{scope[:100]}' is no scope. Scopes: {', '.join(PERMISSIONS)}.", field="scopes", constraint="enum"
            )
        if not caller.may(scope):
            raise PermissionDenied(
                f"A key can't have the scope '{scope}', which its maker does not have.", details={"permission": scope}
            )
    return sorted(set(asked))


def expiry(caller: Caller, text: str | None, now: int) -> int | None:
    """The end in Unix seconds; None: none. Raises ValidationError, PermissionDenied."""
    if text is None:
        return caller.expires_at
    try:
        expires_at = parse_rfc3339(text)
    except (ValueError, OverflowError) as cause:
        raise ValidationError(
            "The 'expires_at' field must be a date or a date-time (RFC 3339).", field="expires_at", constraint="format"
        ) from cause
    if expires_at <= now:
        raise ValidationError("The 'expires_at' field must lie ahead.", field="expires_at", constraint="future")
    if caller.expires_at is not None and expires_at > caller.expires_at:
        raise PermissionDenied("A key can't outlive the key that it is made with.", field="expires_at")
    return expires_at


def models(caller: Caller, asked: list[str] | None) -> list[str] | None:
    """The models and aliases that a credential is for; None: all. They need not be there yet."""
    if asked is None:
        return None if caller.models is None else sorted(caller.models)
    for number, name in enumerate(asked):
        if not 1 <= len(name) <= _LONGEST_MODEL or not name.isprintable():
            raise ValidationError(
                f"A model's name has 1 to {_LONGEST_MODEL} printable characters.",
                field=f"allowed_models.{number}",
                constraint="format",
            )
        if caller.models is not None and name not in caller.models:
            raise PermissionDenied("A key can't be for a model that its maker is not for.", field="allowed_models")
    return sorted(set(asked))


def addresses(caller: Caller, asked: list[str] | None) -> list[str] | None:
    """The networks that a credential works from; None: all. A single address is a network of its own."""
    if asked is None:
        return None if caller.addresses is None else list(caller.addresses)
    given = [_network(text, f"allowed_ips.{number}") for number, text in enumerate(asked)]
    if caller.addresses is not None and not all(_lies_in(network, caller.addresses) for network in given):
        raise PermissionDenied("A key can't work from where its maker does not.", field="allowed_ips")
    return list(dict.fromkeys(str(network) for network in given))


def comes_from(address: str | None, allowed: Sequence[str]) -> bool:
    """Whether a client's address lies in one of the networks. One that can't be told lies in none."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    # a socket for both kinds shows IPv4 clients in the other's clothes
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(network) for network in allowed)


def exceeds(
    caller: Caller,
    key_scopes: list[str] | None,
    expires_at: int | None,
    key_models: list[str] | None,
    key_addresses: list[str] | None,
) -> bool:
    """Whether a key of the same user is bound less than the caller's credential in any way."""
    if caller.restricted and (key_scopes is None or not caller.permissions.issuperset(key_scopes)):
        return True
    if caller.expires_at is not None and (expires_at is None or expires_at > caller.expires_at):
        return True
    if caller.models is not None and (key_models is None or not caller.models.issuperset(key_models)):
        return True
    if caller.addresses is None:
        return False
    return key_addresses is None or not all(
        _lies_in(ipaddress.ip_network(network), caller.addresses) for network in key_addresses
    )


def _network(text: str, field: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as cause:
        raise ValidationError(
            f"The '{field}' field must be an address or a network such as 192.168.1.0/24.",
            field=field,
            constraint="format",
        ) from cause


def _lies_in(network: Network, allowed: Sequence[str]) -> bool:
    # first and last decide: a network is without gaps, and addresses of the two kinds are never in one another's
    outer = [ipaddress.ip_network(text) for text in allowed]
    return any(network.network_address in one and network.broadcast_address in one for one in outer)
