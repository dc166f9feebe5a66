"""Devices without a browser (RFC 8628): they show a short code, and their user enters it on a page here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.ids import hash_secret
from secureai_appliance.store import Reader, Transaction

LIFETIME = 600
WAIT = 5
"""Seconds that a device has to leave between two questions; more each time that it asks sooner."""

MOST_WAITING = 1000
"""Of one client."""


@dataclass(frozen=True)
class Device:
    """A device that waits, as Authlib asks it (`authlib.oauth2.rfc8628.DeviceCredentialMixin`)."""

    hash: bytes
    client_id: str
    client_name: str
    scopes: frozenset[str]
    user: Caller | None
    """Who decided, with the rights that the decision leaves them now."""
    allowed: bool | None
    wait: int
    asked_at: int | None
    expired: bool

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return " ".join(sorted(self.user.permissions if self.user else self.scopes))

    def get_user_code(self) -> bytes:
        return self.hash

    def is_expired(self) -> bool:
        return self.expired


def create(tx: Transaction, device_code: str, user_code: str, client_id: str, scopes: frozenset[str]) -> None:
    """Keep a new pair of codes."""
    now, ahead = tx.now(), tx.wall()
    grants.sweep(tx, ahead)
    tx.run(
        "INSERT INTO oauth_devices (device_hash, user_code_hash, client_id, scopes, wait, expires_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        hash_secret(device_code),
        hash_secret(_plain(user_code)),
        client_id,
        grants.scopes_json(scopes),
        WAIT,
        ahead + LIFETIME,
        now,
    )


def too_many(db: Reader, client_id: str, now: int) -> bool:
    """Whether as many of this client's devices wait as may: anybody who knows a public client can begin one."""
    waiting = "SELECT COUNT(*) FROM oauth_devices WHERE client_id = ? AND expires_at > ?"
    return int(db.value(waiting, client_id, now)) >= MOST_WAITING


def by_device_code(db: Reader, device_code: str, now: int) -> Device | None:
    """The device that asks."""
    return _find(db, "d.device_hash", hash_secret(device_code), now)


def waiting(db: Reader, user_code: str, now: int) -> Device:
    """The device that shows this code and for which nobody has decided. Raises NotFound."""
    found = _find(db, "d.user_code_hash", hash_secret(_plain(user_code)), now)
    if found is None or found.expired or found.allowed is not None:
        raise NotFound("No device shows this code. It may have expired: start again on the device.")
    return found


def decide(tx: Transaction, device: Device, user: Caller, *, allowed: bool) -> None:
    """Keep what the user decided."""
    tx.run(
        "UPDATE oauth_devices SET user_id = ?, allowed = ?, scopes = ? WHERE device_hash = ?",
        *(user.user_id, int(allowed), grants.scopes_json(device.scopes & user.permissions), device.hash),
    )


def asked(tx: Transaction, device: Device, now: int) -> bool:
    """Note that the device asked; whether it was too early, for which it has to wait longer from now on."""
    early = device.asked_at is not None and now < device.asked_at + device.wait
    tx.run(
        "UPDATE oauth_devices SET asked_at = ?, wait = ? WHERE device_hash = ?",
        *(now, device.wait + (WAIT if early else 0), device.hash),
    )
    return early


def use_up(tx: Transaction, device: Device) -> None:
    """The device has its tokens."""
    tx.run("DELETE FROM oauth_devices WHERE device_hash = ?", device.hash)


def _plain(user_code: str) -> str:
    """As it is compared: people leave the hyphen out and write small letters."""
    return re.sub(r"[^A-Z0-9]", "", user_code.upper())


def _find(db: Reader, column: str, value: bytes, now: int) -> Device | None:
    row = db.one(
        "SELECT d.device_hash, d.client_id, c.name, d.scopes, d.allowed, d.wait, d.asked_at, d.expires_at, u.id,"  # noqa: S608
        " u.disabled FROM oauth_devices d JOIN oauth_clients c ON c.id = d.client_id"
        f" LEFT JOIN users u ON u.id = d.user_id WHERE {column} = ?",
        value,
    )
    if row is None:
        return None
    device_hash, client_id, name, scopes, allowed, wait, asked_at, expires_at, user_id, off = row
    granted = grants.read_scopes(scopes)
    return Device(
        hash=device_hash,
        client_id=client_id,
        client_name=name,
        scopes=granted,
        user=users.caller_of(db, user_id, scopes=sorted(granted)) if user_id and not off else None,
        allowed=None if allowed is None else bool(allowed),
        wait=wait,
        asked_at=asked_at,
        expired=expires_at <= now,
    )
