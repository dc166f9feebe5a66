"""One row of the route table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from secureai_appliance.web.answers import Outcome
from secureai_appliance.web.request import Request

Handler = Callable[[Request[Any, Any]], Outcome]

KB = 1024
MB = 1024 * KB
PART = "application/offset+octet-stream"
"""Of a request that adds a part to an upload."""


class Access(Enum):
    """Who may, where a permission does not say it."""

    PUBLIC = "public"
    """Anybody who can reach the port."""
    SIGNED_IN = "signed_in"
    """Any valid credential."""


@dataclass(frozen=True)
class Route:
    """Everything there is to know about a method on a path. OpenAPI, the documentation and the access test read it."""

    method: str
    path: str
    """As in OpenAPI: `/api/v1/keys/{id}`."""
    handler: Handler
    access: str | Access
    """A permission such as `keys:write`, or an Access."""
    summary: str
    tag: str = ""
    or_access: str = ""
    """Another permission that lets in as well as `access` does."""
    body: type[msgspec.Struct] | None = None
    raw: str = ""
    """The content type of a body that the handler takes as bytes (`request.raw`). Never together with `body`."""
    multipart: type[msgspec.Struct] | None = None
    """The fields of a form with files, which the handler reads itself. With a `body`, JSON may come in its place."""
    form: bool = False
    """Takes `application/x-www-form-urlencoded` (`request.form`) instead of JSON. Never together with `body`."""
    oauth: bool = False
    """What is wrong is told in OAuth's shape (RFC 6749, 5.2) instead of the one of the API."""
    example: dict[str, Any] | None = None
    """A body, for the documentation; without it one is made from what is required."""
    query: type[msgspec.Struct] | None = None
    answer: type | None = None
    status: int = 200
    """Of a successful answer; 204 has no body."""
    writes: bool = False
    """The handler runs inside one write transaction (`request.tx`). Never together with a model."""
    unaudited: str = ""
    """Why a state-changing request leaves no row in the audit log: what it changes is nobody's business later."""
    openai: bool = False
    """Unknown fields are ignored and named in `X-SecureAI-Ignored`, as OpenAI clients expect."""
    streams: bool = False
    """Holds one of the `http.max_streams` places while it runs, and may answer with server-sent events."""
    secret_field: str = ""
    """The answer's field that holds a secret: an idempotent replay has `details.secret: "shown_once"` in its place."""
    public_if: str = ""
    """A boot option; while it is true, `access` is PUBLIC."""
    content_type: str = "application/json"
    """Of a successful answer that is not a stream."""
    other_types: tuple[str, ...] = ()
    """Further types that a successful answer may have."""
    max_body: int = MB
    errors: tuple[int, ...] = ()
    """Statuses beyond those that every route may answer."""
    limit: str = "api"
    """Limit class: `api`, `tokens` where models read something, or `completions`; pages have `none`."""
    deprecated: str | None = None
    sunset: str | None = None

    @property
    def page(self) -> bool:
        """Whether people look at it: opened by the session cookie alone, which `/api` does not take."""
        return self.content_type.startswith("text/html")
