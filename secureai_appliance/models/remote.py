"""Models that another server runs (vLLM, llama-server, another appliance): where it is, and what opens it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.core.network import InvalidUrl, parse_url
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.store import Reader, Transaction

DEFAULT_SLOTS = 16
_MAX_HEADERS = 20
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,2000}", re.ASCII)
# what frames a message, and what the request itself says
_FORBIDDEN = {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "content-type"}
_FORBIDDEN |= {"accept", "accept-encoding", "via"}

BaseUrl = Annotated[str, Meta(min_length=1, max_length=500)]
TheirName = Annotated[str, Meta(min_length=1, max_length=300)]
ApiKey = Annotated[str, Meta(min_length=1, max_length=4000)]
Headers = Annotated[dict[str, str], Meta(max_length=_MAX_HEADERS)]
Slots = Annotated[int, Meta(ge=1, le=1024)]


class RemoteCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An OpenAI-compatible server's model. `base_url` is what clients of it take, such as `http://gpu-1:8000/v1`.

    `api_key` and the values of `headers` are sealed and never shown. `slots`: requests at once; more wait here.
    `context_length` is for information.
    """

    base_url: BaseUrl
    model: TheirName
    kind: Literal["chat", "embedding"] = "chat"
    api_key: ApiKey | None = None
    headers: Headers = {}
    slots: Slots = DEFAULT_SLOTS
    context_length: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class RemotePatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of where a remote model is; what is left out stays. `headers` are replaced as a whole."""

    base_url: BaseUrl | UnsetType = UNSET
    model: TheirName | UnsetType = UNSET
    api_key: ApiKey | UnsetType | None = UNSET
    headers: Headers | UnsetType = UNSET
    slots: Slots | UnsetType = UNSET


class Remote(msgspec.Struct, kw_only=True, frozen=True):
    """Where a model runs, without what opens it: only whether there is a key, and the names of the headers."""

    base_url: str
    model: str
    has_api_key: bool
    header_names: list[str]
    slots: int


@dataclass(frozen=True)
class Access:
    """What a request to the other server needs. `headers` hold secrets."""

    base_url: str
    model: str
    headers: dict[str, str]
    slots: int


SHOWN = (
    "(SELECT json_object('base_url', r.base_url, 'model', r.model, 'has_api_key',"
    " json(iif(r.api_key IS NULL, 'false', 'true')), 'header_names', json(r.header_names), 'slots', r.slots)"
    " FROM remote_models r WHERE r.model_id = m.id)"
)
"""A `Remote` as JSON, of the model `m`; NULL for one that runs here."""


def insert(tx: Transaction, sealer: Sealer, model_id: str, body: RemoteCreate) -> None:
    """Enter where the model runs. Raises ValidationError for an address or a header that is none."""
    tx.run(
        "INSERT INTO remote_models (model_id, base_url, model, api_key, headers, header_names, slots)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(model_id, checked_url(body.base_url), body.model, _sealed_key(sealer, model_id, body.api_key)),
        *(_sealed_headers(sealer, model_id, body.headers), _names(body.headers), body.slots),
    )


def change(tx: Transaction, sealer: Sealer, model_id: str, body: RemotePatch) -> None:
    """Change where the model runs. Raises ValidationError.

    A key that was given for one server is not sent to another: with a new `base_url` key and headers go, unless they
    are given anew.
    """
    if body.base_url is not UNSET:
        base_url = checked_url(body.base_url)
        before = tx.value("SELECT base_url FROM remote_models WHERE model_id = ?", model_id)
        tx.run("UPDATE remote_models SET base_url = ? WHERE model_id = ?", base_url, model_id)
        if _origin(before) != _origin(base_url):
            tx.run(
                "UPDATE remote_models SET api_key = NULL, headers = NULL, header_names = '[]' WHERE model_id = ?",
                model_id,
            )
    if body.model is not UNSET:
        tx.run("UPDATE remote_models SET model = ? WHERE model_id = ?", body.model, model_id)
    if body.api_key is not UNSET:
        sealed = _sealed_key(sealer, model_id, body.api_key)
        tx.run("UPDATE remote_models SET api_key = ? WHERE model_id = ?", sealed, model_id)
    if body.headers is not UNSET:
        tx.run(
            "UPDATE remote_models SET headers = ?, header_names = ? WHERE model_id = ?",
            *(_sealed_headers(sealer, model_id, body.headers), _names(body.headers), model_id),
        )
    if body.slots is not UNSET:
        tx.run("UPDATE remote_models SET slots = ? WHERE model_id = ?", body.slots, model_id)


def access(db: Reader, sealer: Sealer, model_id: str) -> Access | None:
    """How the other server is asked; None when the model is gone or runs here."""
    row = db.one("SELECT base_url, model, api_key, headers, slots FROM remote_models WHERE model_id = ?", model_id)
    if row is None:
        return None
    base_url, model, api_key, sealed, slots = row
    headers: dict[str, str] = {}
    if sealed is not None:
        headers = msgspec.json.decode(sealer.open(sealed, _context(model_id, "headers")), type=dict[str, str])
    if api_key is not None:
        headers["Authorization"] = f"Bearer {sealer.open(api_key, _context(model_id, 'api_key')).decode()}"
    return Access(base_url, model, headers, slots)


def _origin(base_url: str) -> tuple[str, str, int]:
    target = parse_url(base_url)
    return target.scheme, target.host, target.port


def checked_url(base_url: str) -> str:
    """The address without a slash at its end. Raises ValidationError."""
    try:
        target = parse_url(base_url)
    except InvalidUrl as cause:
        raise ValidationError(cause.message, field="remote.base_url", constraint="format") from cause
    if "?" in base_url or "#" in base_url or target.path.endswith("/chat/completions"):
        raise ValidationError(
            "The 'remote.base_url' field is what clients take as base URL, such as http://gpu-1:8000/v1.",
            field="remote.base_url",
            constraint="format",
        )
    return base_url.rstrip("/")


def _sealed_key(sealer: Sealer, model_id: str, api_key: str | None) -> bytes | None:
    if api_key is None:
        return None
    if not _HEADER_VALUE.fullmatch(f"Bearer {api_key[:1900]}") or not api_key.isascii() or not api_key.isprintable():
        raise ValidationError(
            "The 'remote.api_key' field holds characters that a key has not.",
            field="remote.api_key",
            constraint="format",
        )
    return sealer.seal(api_key.encode(), _context(model_id, "api_key"))


def _sealed_headers(sealer: Sealer, model_id: str, headers: dict[str, str]) -> bytes | None:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValidationError("Each header can be given once.", field="remote.headers", constraint="unique")
    for name, value in headers.items():
        usable = _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
        if not usable or name.lower() in _FORBIDDEN:
            raise ValidationError(
                f"'{name[:100]}' is no header that can be sent along.", field="remote.headers", constraint="format"
            )
    return sealer.seal(msgspec.json.encode(headers), _context(model_id, "headers")) if headers else None


def _names(headers: dict[str, str]) -> str:
    return msgspec.json.encode(sorted(headers)).decode()


def _context(model_id: str, what: str) -> str:
    return f"remote_models.{what} {model_id}"
