"""API keys: shown once, stored as a hash, never with more rights than their owner."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts import bounds, users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import rfc3339
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
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Store, Transaction, list_page

OWNED = (Owned("api_keys", "user_id", "delete"),)
PREFIX = "sk-"
EVERYBODY = "all"
LONGEST_GRACE = 30 * 24 * 3600
_SHOWN = 7  # "sk-" and four characters: enough to tell keys apart, far too little to guess from
_HOUR = 3600
_ENDED_KEPT_SECONDS = 90 * 24 * 3600
_SWEPT_AT_ONCE = 500
_COLUMNS = (
    "id, user_id, name, prefix, scopes, expires_at, allowed_models, allowed_ips, previous_until, last_used_at,"
    " created_at, updated_at"
)

_LONGEST_NAME = 100

Name = Annotated[str, Meta(min_length=1, max_length=_LONGEST_NAME)]
Scopes = Annotated[list[str], Meta(max_length=100)]
ModelNames = Annotated[list[str], Meta(max_length=100)]
Networks = Annotated[
    list[Annotated[str, Meta(max_length=50)]], Meta(max_length=100, description="Addresses or networks (CIDR).")
]

log = logging.getLogger(__name__)


class KeyCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new key. What is null is bound as the credential that makes it: not at all, if that is not."""

    name: Name
    scopes: Scopes | None = None
    expires_at: str | None = None
    allowed_models: ModelNames | None = None
    allowed_ips: Networks | None = None


class KeyPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a key; what is left out stays, null is as in a new key."""

    name: Name | UnsetType = UNSET
    scopes: Scopes | UnsetType | None = UNSET
    expires_at: str | UnsetType | None = UNSET
    allowed_models: ModelNames | UnsetType | None = UNSET
    allowed_ips: Networks | UnsetType | None = UNSET


class KeyRotate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new secret; the one before it works for `grace_seconds` more."""

    grace_seconds: Annotated[int, Meta(ge=0, le=LONGEST_GRACE)]


class KeyQuery(ListQuery, kw_only=True):
    """Whose keys."""

    user_id: (
        Annotated[
            str, Meta(max_length=100, description="Another user's, or `all`: only for those who administer users.")
        ]
        | None
    ) = None


class Key(msgspec.Struct, kw_only=True):
    """A key without its secret. `prefix` is how its owner recognises it; `last_used_at` is exact to the hour.

    `previous_until`: the secret before the last rotation works until then.
    """

    id: str
    user_id: str
    name: str
    prefix: str
    scopes: list[str] | None
    expires_at: str | None
    allowed_models: list[str] | None
    allowed_ips: list[str] | None
    previous_until: str | None
    last_used_at: str | None
    created_at: str
    updated_at: str


class KeyCreated(Key, kw_only=True):
    """A new key, or one with a new secret, which is shown this once."""

    key: str


def create(tx: Transaction, caller: Caller, body: KeyCreate) -> KeyCreated:
    """Make a key for the caller's user.

    Raises PermissionDenied for what the caller's own credential does not have: a narrow key can't make a wider one;
    ValidationError for a bad value.
    """
    _check_name(body.name)
    secret = new_secret(PREFIX)
    key_id, now = new_id("key"), tx.now()
    tx.run(
        "INSERT INTO api_keys (id, user_id, name, secret_hash, prefix, scopes, expires_at, allowed_models, allowed_ips,"
        " grant_id, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        key_id,
        caller.user_id,
        body.name,
        hash_secret(secret),
        secret[:_SHOWN],
        _json(bounds.scopes(caller, body.scopes)),
        bounds.expiry(caller, body.expires_at, tx.wall()),
        _json(bounds.models(caller, body.allowed_models)),
        _json(bounds.addresses(caller, body.allowed_ips)),
        caller.grant_id,
        now,
        now,
    )
    key = get(tx, caller, key_id)
    details = {"user_id": key.user_id, "scopes": key.scopes, "expires_at": key.expires_at}
    audit.record(tx, caller.actor, "key.created", "key", key_id, details=details)
    return KeyCreated(**msgspec.structs.asdict(key), key=secret)


def get(db: Reader, caller: Caller, key_id: str) -> Key:
    """One of the caller's keys, or of anybody's for who administers users.

    Raises NotFound, also for a revoked one and for another user's.
    """
    row = db.one(
        f"SELECT {_COLUMNS} FROM api_keys"  # noqa: S608 (constant columns)
        " WHERE (user_id = ? OR ?) AND id = ? AND revoked_at IS NULL",
        caller.user_id,
        caller.may("users:admin"),
        key_id,
    )
    if row is None:
        raise NotFound("There is no such key.")
    return _key(row)


def list_(db: Reader, caller: Caller, query: ListQuery) -> Page[Key]:
    """A page of the keys that are not revoked: the caller's, or whose the query names (`users:admin`)."""
    whose = query.user_id if isinstance(query, KeyQuery) and query.user_id is not None else caller.user_id
    if whose != caller.user_id:
        caller.require("users:admin")
    if whose == EVERYBODY:
        return list_page(db, _LIST, query, where="revoked_at IS NULL")
    return list_page(db, _LIST, query, where="user_id = ? AND revoked_at IS NULL", params=(whose,))


def patch(tx: Transaction, caller: Caller, key_id: str, body: KeyPatch) -> Key:
    """Change one of the caller's own keys. Raises NotFound, and what `create` raises; PermissionDenied also for a key
    that has more than the caller's credential."""
    _require_mine(tx, caller, key_id)
    now = tx.now()
    if body.name is not UNSET:
        _check_name(body.name)
        tx.run("UPDATE api_keys SET name = ? WHERE id = ?", body.name, key_id)
    if body.expires_at is not UNSET:
        expires_at = bounds.expiry(caller, body.expires_at, tx.wall())
        # an end that its owner sets is no longer that of the token that it was made with
        tx.run(
            "UPDATE api_keys SET expires_at = ?, grant_id = iif(? IS NULL, NULL, grant_id) WHERE id = ?",
            *(expires_at, caller.grant_id, key_id),
        )
    if body.scopes is not UNSET:
        tx.run("UPDATE api_keys SET scopes = ? WHERE id = ?", _json(bounds.scopes(caller, body.scopes)), key_id)
    if body.allowed_models is not UNSET:
        models = _json(bounds.models(caller, body.allowed_models))
        tx.run("UPDATE api_keys SET allowed_models = ? WHERE id = ?", models, key_id)
    if body.allowed_ips is not UNSET:
        addresses = _json(bounds.addresses(caller, body.allowed_ips))
        tx.run("UPDATE api_keys SET allowed_ips = ? WHERE id = ?", addresses, key_id)
    tx.run("UPDATE api_keys SET updated_at = ? WHERE id = ?", now, key_id)
    fields = [name for name in body.__struct_fields__ if getattr(body, name) is not UNSET]
    audit.record(tx, caller.actor, "key.updated", "key", key_id, details={"fields": fields})
    return get(tx, caller, key_id)


def rotate(tx: Transaction, caller: Caller, key_id: str, grace_seconds: int) -> KeyCreated:
    """Give one of the caller's own keys a new secret.

    The one before works for `grace_seconds` more, an older one no longer.
    Raises NotFound; PermissionDenied for a key that has more than the caller's credential.
    """
    _require_mine(tx, caller, key_id)
    secret, now = new_secret(PREFIX), tx.now()
    tx.run(
        "UPDATE api_keys SET previous_hash = secret_hash, previous_until = ?, secret_hash = ?, prefix = ?,"
        " grant_id = ?, updated_at = ? WHERE id = ?",
        *(tx.wall() + grace_seconds, hash_secret(secret), secret[:_SHOWN], caller.grant_id, now, key_id),
    )
    audit.record(tx, caller.actor, "key.rotated", "key", key_id, details={"grace_seconds": grace_seconds})
    return KeyCreated(**msgspec.structs.asdict(get(tx, caller, key_id)), key=secret)


def _check_name(name: str) -> None:
    # control characters would reach the terminal of whoever lists the keys
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ValidationError(
            f"The 'name' field must have 1 to {_LONGEST_NAME} printable characters.", field="name", constraint="format"
        )


def revoke(tx: Transaction, caller: Caller, key_id: str) -> None:
    """End one of the caller's keys, or anybody's for who administers users; the next request with it is refused.

    Raises NotFound; PermissionDenied for a key that has more than the caller's credential.
    """
    key = get(tx, caller, key_id)
    if key.user_id == caller.user_id:
        _require_within(tx, caller, key_id)
    else:
        caller.require_reach(users.rights(tx, key.user_id))
    revoke_any(tx, key_id, caller.actor)


def revoke_any(tx: Transaction, key_id: str, actor: Actor = SYSTEM) -> None:
    """End a key whoever owns it (the command line). Raises NotFound."""
    now = tx.now()
    changed = tx.run(
        "UPDATE api_keys SET revoked_at = ?, updated_at = ? WHERE id = ? AND revoked_at IS NULL", now, now, key_id
    )
    if not changed:
        raise NotFound(f"There is no key {key_id}.")
    audit.record(tx, actor, "key.revoked", "key", key_id)


def revoke_of_grant(tx: Transaction, grant_id: str) -> None:
    """End every key that was made with a token of this grant."""
    for (key_id,) in tx.all("SELECT id FROM api_keys WHERE grant_id = ? AND revoked_at IS NULL", grant_id):
        revoke_any(tx, key_id)


def id_of(db: Reader, secret: str) -> str:
    """The id of the key that `secret` is. Raises NotFound."""
    key_id = db.value("SELECT id FROM api_keys WHERE secret_hash = ?1 OR previous_hash = ?1", hash_secret(secret))
    if key_id is None:
        raise NotFound("There is no such key.")
    return str(key_id)


def everybodys(db: Reader) -> list[tuple[str, Key]]:
    """Every key that is not revoked with its owner's address, oldest first (for the command line)."""
    rows = db.all(
        f"SELECT (SELECT email FROM users WHERE id = user_id), {_COLUMNS} FROM api_keys"  # noqa: S608 (constant columns)
        " WHERE revoked_at IS NULL ORDER BY row_id"
    )
    return [(row[0], _key(row[1:])) for row in rows]


def authenticate(db: Reader, secret: str, now: int, address: str | None = None) -> Caller:
    """Who holds this key and asks from `address`.

    Raises AuthenticationError when it is unknown, revoked, expired, replaced or its user disabled; PermissionDenied
    from an address that it is not for.
    """
    row = db.one(
        "SELECT k.id, k.scopes, k.expires_at, k.revoked_at, k.allowed_models, k.allowed_ips,"
        " k.secret_hash <> ?1 AND k.previous_until <= ?2, k.user_id, u.disabled,"
        " k.grant_id"
        " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.secret_hash = ?1 OR k.previous_hash = ?1",
        hash_secret(secret),
        now,
    )
    if row is None:
        raise AuthenticationError("The API key is not known here.", code="invalid_api_key")
    key_id, scopes, expires_at, revoked_at, models, addresses, replaced, user_id, disabled, grant_id = row
    if revoked_at is not None:
        raise AuthenticationError("The API key was revoked.", code="invalid_api_key")
    if expires_at is not None and expires_at <= now:
        raise AuthenticationError(f"The API key expired on {rfc3339(expires_at)}.", code="invalid_api_key")
    if replaced:
        raise AuthenticationError("The API key was replaced by a new one.", code="invalid_api_key")
    if disabled:
        raise AuthenticationError("The user of this API key is disabled.", code="invalid_api_key")
    allowed = _names(addresses)
    if allowed is not None and not bounds.comes_from(address, allowed):
        raise PermissionDenied("This API key is not for use from this address.", code="address_not_allowed")
    return users.caller_of(
        db,
        user_id,
        key_id=key_id,
        grant_id=grant_id,
        scopes=_names(scopes),
        expires_at=expires_at,
        models=_names(models),
        addresses=allowed,
    )


def sweep(tx: Transaction) -> bool:
    """Forget keys that ended long ago, some at a time; whether there are more. Until then it is said what is wrong."""
    before = tx.wall() - _ENDED_KEPT_SECONDS
    gone = tx.run(
        "DELETE FROM api_keys WHERE row_id IN"
        " (SELECT row_id FROM api_keys WHERE expires_at <= ? OR revoked_at <= ? LIMIT ?)",
        *(before, before, _SWEPT_AT_ONCE),
    )
    return gone == _SWEPT_AT_ONCE


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


def _require_mine(db: Reader, caller: Caller, key_id: str) -> None:
    if get(db, caller, key_id).user_id != caller.user_id:
        # a secret or a wider scope would let whoever administers users act in this one's name
        raise PermissionDenied("Only its owner changes a key; an administrator can revoke it.")
    _require_within(db, caller, key_id)


def _require_within(db: Reader, caller: Caller, key_id: str) -> None:
    row = db.one("SELECT scopes, expires_at, allowed_models, allowed_ips FROM api_keys WHERE id = ?", key_id)
    if row is None:
        raise NotFound("There is no such key.")
    scopes, expires_at, models, addresses = row
    if bounds.exceeds(caller, _names(scopes), expires_at, _names(models), _names(addresses)):
        raise PermissionDenied("This key has more than the credential that is used to change it.")


def _json(names: list[str] | None) -> str | None:
    return None if names is None else msgspec.json.encode(names).decode()


def _names(text: str | None) -> list[str] | None:
    return None if text is None else msgspec.json.decode(text, type=list[str])


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _key(row: tuple[Any, ...]) -> Key:
    key_id, user_id, name, prefix, scopes, expires_at, models, addresses, previous, last_used, created, updated = row
    return Key(
        id=key_id,
        user_id=user_id,
        name=name,
        prefix=prefix,
        scopes=_names(scopes),
        expires_at=_moment(expires_at),
        allowed_models=_names(models),
        allowed_ips=_names(addresses),
        previous_until=_moment(previous),
        last_used_at=_moment(last_used),
        created_at=rfc3339(created),
        updated_at=rfc3339(updated),
    )


_LIST: ListSpec[Key] = ListSpec(
    columns=_COLUMNS,
    source="api_keys",
    sortable={"created_at": "created_at", "name": "name"},
    read=_key,
)
