"""API keys: shown once, stored as a hash, never with more rights than their owner."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.clock import parse_rfc3339, rfc3339
from secureai_appliance.core.errors import (
    AuthenticationError,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
    ValidationError,
)
from secureai_appliance.core.ids import hash_secret, new_id, new_secret
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Store, Transaction, list_page

PREFIX = "sk-"
_SHOWN = 7  # "sk-" and four characters: enough to tell keys apart, far too little to guess from
_HOUR = 3600
_COLUMNS = "id, user_id, name, prefix, scopes, expires_at, last_used_at, created_at, updated_at"

_LONGEST_NAME = 100

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_NAME)]
Scopes = Annotated[list[str], msgspec.Meta(max_length=100)]

log = logging.getLogger(__name__)


class KeyCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new key. `scopes` null: everything that its maker may do through the credential at hand."""

    name: Name
    scopes: Scopes | None = None
    expires_at: str | None = None


class KeyPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a key; what is left out stays."""

    name: Name | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET


class Key(msgspec.Struct, kw_only=True):
    """A key without its secret. `prefix` is how its owner recognises it; `last_used_at` is exact to the hour."""

    id: str
    user_id: str
    name: str
    prefix: str
    scopes: list[str] | None
    expires_at: str | None
    last_used_at: str | None
    created_at: str
    updated_at: str


class KeyCreated(Key, kw_only=True):
    """A new key with its secret, shown this once."""

    key: str


def create(tx: Transaction, caller: Caller, body: KeyCreate) -> KeyCreated:
    """Make a key for the caller's user.

    Raises PermissionDenied for a scope that the caller does not hold: a narrow key can't make a wider one;
    ValidationError for a name that is not 1 to 100 printable characters.
    """
    _check_name(body.name)
    scopes = _scopes(caller, body.scopes)
    secret = new_secret(PREFIX)
    key_id, now = new_id("key"), tx.now()
    tx.run(
        "INSERT INTO api_keys (id, user_id, name, secret_hash, prefix, scopes, expires_at, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        key_id,
        caller.user_id,
        body.name,
        hash_secret(secret),
        secret[:_SHOWN],
        None if scopes is None else msgspec.json.encode(scopes).decode(),
        _expiry(body.expires_at, now, caller),
        now,
        now,
    )
    key = get(tx, caller, key_id)
    details = {"user_id": key.user_id, "scopes": key.scopes, "expires_at": key.expires_at}
    audit.record(tx, caller.actor, "key.created", "key", key_id, details=details)
    return KeyCreated(**msgspec.structs.asdict(key), key=secret)


def get(db: Reader, caller: Caller, key_id: str) -> Key:
    """One of the caller's keys. Raises NotFound, also for a revoked one and for another user's."""
    row = db.one(
        f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = ? AND id = ? AND revoked_at IS NULL",  # noqa: S608
        caller.user_id,
        key_id,
    )
    if row is None:
        raise NotFound("There is no such key.")
    return _key(row)


def list_(db: Reader, caller: Caller, query: ListQuery) -> Page[Key]:
    """A page of the caller's keys that are not revoked."""
    return list_page(db, _LIST, query, where="user_id = ? AND revoked_at IS NULL", params=(caller.user_id,))


def patch(tx: Transaction, caller: Caller, key_id: str, body: KeyPatch) -> Key:
    """Rename a key or move its expiry. Raises NotFound, and what `create` raises."""
    get(tx, caller, key_id)
    now = tx.now()
    if body.name is not UNSET:
        _check_name(body.name)
        tx.run("UPDATE api_keys SET name = ?, updated_at = ? WHERE id = ?", body.name, now, key_id)
    if body.expires_at is not UNSET:
        expires_at = _expiry(body.expires_at, now, caller)
        tx.run("UPDATE api_keys SET expires_at = ?, updated_at = ? WHERE id = ?", expires_at, now, key_id)
    fields = [name for name in body.__struct_fields__ if getattr(body, name) is not UNSET]
    audit.record(tx, caller.actor, "key.updated", "key", key_id, details={"fields": fields})
    return get(tx, caller, key_id)


def _check_name(name: str) -> None:
    # control characters would reach the terminal of whoever lists the keys
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValidationError(
            f"The 'name' field must have 1 to {_LONGEST_NAME} printable characters.", field="name", constraint="format"
        )


def revoke(tx: Transaction, caller: Caller, key_id: str) -> None:
    """End one of the caller's keys; the next request with it is refused. Raises NotFound."""
    get(tx, caller, key_id)
    revoke_any(tx, key_id, caller.actor)


def revoke_any(tx: Transaction, key_id: str, actor: Actor = SYSTEM) -> None:
    """End a key whoever owns it (administrators, the command line). Raises NotFound."""
    now = tx.now()
    changed = tx.run(
        "UPDATE api_keys SET revoked_at = ?, updated_at = ? WHERE id = ? AND revoked_at IS NULL", now, now, key_id
    )
    if not changed:
        raise NotFound(f"There is no key {key_id}.")
    audit.record(tx, actor, "key.revoked", "key", key_id)


def id_of(db: Reader, secret: str) -> str:
    """The id of the key that `secret` is. Raises NotFound."""
    key_id = db.value("SELECT id FROM api_keys WHERE secret_hash = ?", hash_secret(secret))
    if key_id is None:
        raise NotFound("There is no such key.")
    return str(key_id)


def everybodys(db: Reader) -> list[tuple[str, Key]]:
    """Every key that is not revoked with its owner's address, oldest first (for the command line)."""
    rows = db.all(
        "SELECT u.email, k.id, k.user_id, k.name, k.prefix, k.scopes, k.expires_at, k.last_used_at, k.created_at,"
        " k.updated_at FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.revoked_at IS NULL ORDER BY k.row_id"
    )
    return [(row[0], _key(row[1:])) for row in rows]


def authenticate(db: Reader, secret: str, now: int) -> Caller:
    """Who holds this key. Raises AuthenticationError when it is unknown, revoked, expired or its user disabled."""
    row = db.one(
        "SELECT k.id, k.scopes, k.expires_at, k.revoked_at, u.id, u.email, u.role, u.tier, u.disabled"
        " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.secret_hash = ?",
        hash_secret(secret),
    )
    if row is None:
        raise AuthenticationError("The API key is not known here.", code="invalid_api_key")
    key_id, scopes, expires_at, revoked_at, user_id, email, role, tier, disabled = row
    if revoked_at is not None:
        raise AuthenticationError("The API key was revoked.", code="invalid_api_key")
    if expires_at is not None and expires_at <= now:
        raise AuthenticationError(f"The API key expired on {rfc3339(expires_at)}.", code="invalid_api_key")
    if disabled:
        raise AuthenticationError("The user of this API key is disabled.", code="invalid_api_key")
    return users.caller_of(
        user_id,
        email,
        role,
        tier,
        key_id=key_id,
        scopes=None if scopes is None else msgspec.json.decode(scopes, type=list[str]),
        expires_at=expires_at,
    )


def touch(store: Store, key_id: str, now: int) -> None:
    """Remember that a key was used, once an hour at most: a request is answered even when this can't be written."""
    hour = now - now % _HOUR
    with store.read() as db:
        if (db.value("SELECT last_used_at FROM api_keys WHERE id = ?", key_id) or 0) >= hour:
            return
    try:
        with store.transaction() as tx:
            tx.run("UPDATE api_keys SET last_used_at = ? WHERE id = ?", hour, key_id)
    except ServiceUnavailable:
        log.warning("the last use of key %s could not be written", key_id)


def _scopes(caller: Caller, asked: list[str] | None) -> list[str] | None:
    if asked is None:
        return None if not caller.restricted else sorted(caller.permissions)
    for scope in asked:
        if scope not in PERMISSIONS:
            raise ValidationError(
                f"'{scope}' is no scope. Scopes: {', '.join(PERMISSIONS)}.", field="scopes", constraint="enum"
            )
        if not caller.may(scope):
            raise PermissionDenied(
                f"A key can't have the scope '{scope}', which its maker does not have.", details={"permission": scope}
            )
    return sorted(set(asked))


def _expiry(text: str | None, now: int, caller: Caller) -> int | None:
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


def _key(row: tuple[Any, ...]) -> Key:
    key_id, user_id, name, prefix, scopes, expires_at, last_used_at, created_at, updated_at = row
    return Key(
        id=key_id,
        user_id=user_id,
        name=name,
        prefix=prefix,
        scopes=None if scopes is None else msgspec.json.decode(scopes, type=list[str]),
        expires_at=None if expires_at is None else rfc3339(expires_at),
        last_used_at=None if last_used_at is None else rfc3339(last_used_at),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_LIST: ListSpec[Key] = ListSpec(
    columns=_COLUMNS,
    source="api_keys",
    sortable={"created_at": "created_at", "name": "name"},
    read=_key,
)
