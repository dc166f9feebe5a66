"""OAuth clients: the programs that may ask users for access, or work on their own."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.permissions import PERMISSIONS
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound, PermissionDenied, ValidationError
from secureai_appliance.core.ids import hash_secret, new_id, new_secret
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

SECRET_PREFIX = "scs-"  # noqa: S105 (a prefix)
GrantType = Literal[
    "authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"
]
_COLUMNS = (
    "id, name, secret_hash IS NOT NULL, redirect_uris, grant_types, scopes, introspects, user_id, created_at,"
    " updated_at"
)
# RFC 8252, 7.3: a native program takes whatever port is free; nothing else of its address varies
_LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::[0-9]{1,5})?((?:/.*)?)")
_USUAL: tuple[GrantType, ...] = ("authorization_code", "refresh_token")
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Uris = Annotated[list[Annotated[str, Meta(max_length=2000)]], Meta(max_length=20)]
Scopes = Annotated[list[str], Meta(max_length=100)]
GrantTypes = Annotated[list[GrantType], Meta(min_length=1, max_length=4)]


class ClientCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new client.

    `public`: it can't keep a secret (a program on users' machines, a page) and gets none. `scopes`: the most that it
    can be granted. `user_id`: who a client with the grant `client_credentials` acts as. `introspects`: it may ask about
    the tokens of other clients, as a server that is called with them.
    """

    name: Name
    redirect_uris: Uris = []
    grant_types: GrantTypes = msgspec.field(default_factory=lambda: list(_USUAL))
    scopes: Scopes
    public: bool = False
    user_id: str | None = None
    introspects: bool = False


class ClientPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a client; what is left out stays. Scopes that go are gone from its tokens at once."""

    name: Name | UnsetType = UNSET
    redirect_uris: Uris | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET


class Client(msgspec.Struct, kw_only=True):
    """A client without its secret."""

    id: str
    name: str
    redirect_uris: list[str]
    grant_types: list[GrantType]
    scopes: list[str]
    public: bool
    user_id: str | None
    introspects: bool
    created_at: str
    updated_at: str


class ClientCreated(Client, kw_only=True):
    """A client with its new secret, shown this once; null for a public one."""

    client_secret: str | None


def create(tx: Transaction, caller: Caller, body: ClientCreate, *, insecure_http: bool) -> ClientCreated:
    """Register a client. `insecure_http`: redirects to other machines without TLS are fine.

    Raises ValidationError; PermissionDenied for scopes that the caller lacks, and for a client that is to act as
    somebody else, unless the caller is an administrator through a credential that is not narrowed.
    """
    _check_name(body.name)
    _check_uris(body.redirect_uris, insecure_http=insecure_http)
    _check_grant_types(tx, caller, body)
    scopes = _scopes(caller, body.scopes)
    secret = None if body.public else new_secret(SECRET_PREFIX)
    client_id, now = new_id("oac"), tx.now()
    tx.run(
        "INSERT INTO oauth_clients (id, name, secret_hash, redirect_uris, grant_types, scopes, introspects, user_id,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        client_id,
        body.name,
        None if secret is None else hash_secret(secret),
        _json(body.redirect_uris),
        _json(sorted(set(body.grant_types))),
        _json(scopes),
        int(body.introspects),
        body.user_id,
        now,
        now,
    )
    return ClientCreated(**msgspec.structs.asdict(get(tx, client_id)), client_secret=secret)


def get(db: Reader, client_id: str) -> Client:
    """The client with this id. Raises NotFound."""
    row = db.one(f"SELECT {_COLUMNS} FROM oauth_clients WHERE id = ?", client_id)  # noqa: S608 (constant columns)
    if row is None:
        raise NotFound("There is no such client.")
    return _client(row)


def list_(db: Reader, query: ListQuery) -> Page[Client]:
    """A page of all clients."""
    return list_page(db, _LIST, query)


def patch(tx: Transaction, caller: Caller, client_id: str, body: ClientPatch, *, insecure_http: bool) -> Client:
    """Change a client. Raises NotFound, and what `create` raises."""
    current, now = get(tx, client_id), tx.now()
    if body.name is not UNSET:
        _check_name(body.name)
        tx.run("UPDATE oauth_clients SET name = ?, updated_at = ? WHERE id = ?", body.name, now, client_id)
    if body.redirect_uris is not UNSET:
        _check_uris(body.redirect_uris, insecure_http=insecure_http)
        _check_has_uri(current.grant_types, body.redirect_uris)
        # whoever says where codes go to could collect what users allow this client
        _scopes(caller, current.scopes)
        uris = _json(body.redirect_uris)
        tx.run("UPDATE oauth_clients SET redirect_uris = ?, updated_at = ? WHERE id = ?", uris, now, client_id)
    if body.scopes is not UNSET:
        # only what is new has to be the caller's
        scopes = _scopes(caller, body.scopes, held=current.scopes)
        tx.run("UPDATE oauth_clients SET scopes = ?, updated_at = ? WHERE id = ?", _json(scopes), now, client_id)
    return get(tx, client_id)


def rotate_secret(tx: Transaction, caller: Caller, client_id: str) -> ClientCreated:
    """Give a client a new secret; the old one ends now.

    Raises NotFound; ValidationError for a public client; PermissionDenied for one that reaches further than the caller.
    """
    client, secret = get(tx, client_id), new_secret(SECRET_PREFIX)
    if client.public:
        raise ValidationError("A public client has no secret.", constraint="public")
    _scopes(caller, client.scopes)
    _check_acts_as(caller, client.user_id)
    tx.run(
        "UPDATE oauth_clients SET secret_hash = ?, updated_at = ? WHERE id = ?",
        hash_secret(secret),
        tx.now(),
        client_id,
    )
    return ClientCreated(**msgspec.structs.asdict(get(tx, client_id)), client_secret=secret)


def delete(tx: Transaction, client_id: str) -> None:
    """Remove a client with everything that was granted to it. Raises NotFound."""
    if not tx.run("DELETE FROM oauth_clients WHERE id = ?", client_id):
        raise NotFound("There is no such client.")


@dataclass(frozen=True)
class Registered:
    """A client as Authlib asks it (`authlib.oauth2.rfc6749.ClientMixin`)."""

    id: str
    name: str
    secret_hash: bytes | None
    redirect_uris: tuple[str, ...]
    grant_types: frozenset[str]
    scopes: frozenset[str]
    introspects: bool
    user_id: str | None

    def get_client_id(self) -> str:
        return self.id

    def get_default_redirect_uri(self) -> str | None:
        """The only one; with several there is none to choose."""
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What is asked for, everything that the client can have when nothing is; None for what it can't have."""
        asked = frozenset((scope or "").split()) or self.scopes
        return " ".join(sorted(asked)) if asked <= self.scopes else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether it is one of the registered ones, byte by byte but for a loopback's port."""
        if redirect_uri in self.redirect_uris:
            return True
        portless = _portless(redirect_uri)
        return portless is not None and portless in map(_portless, self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        return self.secret_hash is not None and hmac.compare_digest(self.secret_hash, hash_secret(client_secret))

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return (method == "none") == (self.secret_hash is None)

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and self.check_grant_type("authorization_code")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


def find(db: Reader, client_id: str) -> Registered | None:
    """The client that says it is `client_id`."""
    row = db.one(
        "SELECT id, name, secret_hash, redirect_uris, grant_types, scopes, introspects, user_id FROM oauth_clients"
        " WHERE id = ?",
        client_id,
    )
    if row is None:
        return None
    found, name, secret_hash, uris, grant_types, scopes, introspects, user_id = row
    return Registered(
        id=found,
        name=name,
        secret_hash=secret_hash,
        redirect_uris=tuple(_list(uris)),
        grant_types=frozenset(_list(grant_types)),
        scopes=frozenset(_list(scopes)),
        introspects=bool(introspects),
        user_id=user_id,
    )


def _check_name(name: str) -> None:
    # it is shown to users who decide by it: nothing that could hide or turn letters around
    if not name.isprintable() or name != name.strip():
        raise ValidationError(
            "The 'name' field must have 1 to 100 printable characters.", field="name", constraint="format"
        )


def _check_uris(uris: Sequence[str], *, insecure_http: bool) -> None:
    for n, uri in enumerate(uris):
        fault = _fault(uri, insecure_http=insecure_http)
        if fault:
            raise ValidationError(
                f"The 'redirect_uris.{n}' field {fault}.", field=f"redirect_uris.{n}", constraint="format"
            )


def _fault(uri: str, *, insecure_http: bool) -> str:
    """What is wrong with a redirect URI, nothing when it is fine."""
    try:
        url = urlsplit(uri)
        host, _ = url.hostname, url.port
    except ValueError:
        return "is no address"
    # spaces and quotation marks end a header or its parts; `;` and `,` the policy that names the page's targets
    if not uri.isascii() or re.search(r"[\x00-\x20\x7f\"<>\\^`{|}]", uri) or re.search("[;,*']", url.netloc):
        return "holds characters that an address must have percent-encoded"
    if url.scheme not in {"http", "https"} or not host or "://" not in uri:
        return "must be an absolute address with https, or with http on the user's own machine"
    if "#" in uri or "@" in url.netloc:
        return "must have neither a fragment nor a user name"
    if url.scheme == "http" and host not in _LOOPBACK_HOSTS and not insecure_http:
        return "must have https, but on the user's own machine (127.0.0.1, [::1], localhost)"
    return ""


def _check_grant_types(tx: Transaction, caller: Caller, body: ClientCreate) -> None:
    _check_has_uri(body.grant_types, body.redirect_uris)
    if "client_credentials" not in body.grant_types:
        if body.user_id is not None:
            raise ValidationError(
                "Only a client with the grant 'client_credentials' acts as a user.",
                field="user_id",
                constraint="unused",
            )
        return
    if body.public:
        raise ValidationError(
            "A public client can't have the grant 'client_credentials'.", field="public", constraint="grant_types"
        )
    if body.user_id is None:
        raise ValidationError(
            "The 'user_id' field is required: who the client acts as.", field="user_id", constraint="required"
        )
    _check_acts_as(caller, body.user_id)
    try:
        users.get(tx, body.user_id)
    except NotFound as cause:
        raise ValidationError("The 'user_id' field names no user.", field="user_id", constraint="reference") from cause


def _check_acts_as(caller: Caller, user_id: str | None) -> None:
    if user_id not in {None, caller.user_id} and (caller.role != "admin" or caller.restricted):
        raise PermissionDenied("Only an administrator can let a client act as another user.", field="user_id")
    if user_id is not None and (caller.models, caller.addresses, caller.expires_at) != (None, None, None):
        # the client's own tokens know none of these
        raise PermissionDenied(
            "A credential that is bound to models, addresses or an end can't let a client act as a user.",
            field="user_id",
        )


def _check_has_uri(grant_types: Sequence[str], uris: Sequence[str]) -> None:
    if "authorization_code" in grant_types and not uris:
        raise ValidationError(
            "A client with the grant 'authorization_code' needs a redirect URI.",
            field="redirect_uris",
            constraint="required",
        )


def _scopes(caller: Caller, asked: list[str], held: Sequence[str] = ()) -> list[str]:
    if not asked:
        raise ValidationError("A client needs at least one scope.", field="scopes", constraint="min_items")
    for scope in asked:
        if scope not in PERMISSIONS:
            raise ValidationError(
                f"'{scope}' is no scope. Scopes: {', '.join(PERMISSIONS)}.", field="scopes", constraint="enum"
            )
        if scope not in held and not caller.may(scope):
            raise PermissionDenied(
                f"A client can't have the scope '{scope}', which its maker does not have.",
                details={"permission": scope},
            )
    return sorted(set(asked))


def _portless(uri: str) -> tuple[str, str] | None:
    match = _LOOPBACK.fullmatch(uri)
    return (match[1], match[2]) if match else None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _list(text: str) -> list[str]:
    return msgspec.json.decode(text, type=list[str])


def _client(row: tuple[Any, ...]) -> Client:
    client_id, name, confidential, uris, grant_types, scopes, introspects, user_id, created_at, updated_at = row
    return Client(
        id=client_id,
        name=name,
        redirect_uris=_list(uris),
        grant_types=msgspec.json.decode(grant_types, type=list[GrantType]),
        scopes=_list(scopes),
        public=not confidential,
        user_id=user_id,
        introspects=bool(introspects),
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_LIST: ListSpec[Client] = ListSpec(
    columns=_COLUMNS,
    source="oauth_clients",
    read=_client,
    sortable={"created_at": "created_at", "name": "name"},
    search=("name",),
)
