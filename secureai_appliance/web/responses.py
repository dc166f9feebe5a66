"""Outcomes and failures become HTTP here and nowhere else: JSON bytes, ETags, 304 and 412, the one error shape."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeGuard
from urllib.parse import quote

import msgspec

from secureai_appliance.core.errors import Failure, PreconditionFailed
from secureai_appliance.web.answers import Answer, Download, Outcome, Stream
from secureai_appliance.web.policies import DATA_POLICY
from secureai_appliance.web.request import Request
from secureai_appliance.web.route import MB, Route

ETAG_LIMIT = MB
"""Bodies over this many bytes carry no ETag (ruling 22)."""

JSON = "application/json"


class Frames(Protocol):
    """A body that is made while it is sent."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


@dataclass
class Reply:
    """An answer as WSGI wants it, but for the headers that the gateway puts on every one."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Frames = b""
    cookies: tuple[str, ...] = ()

    @property
    def status_line(self) -> str:
        return f"{self.status} {_REASONS.get(self.status, 'Unknown')}"


_REASONS = {status.value: status.phrase for status in HTTPStatus}


class _Pieces:
    """A file on its way out."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return (piece for piece in self._pieces if piece)

    def close(self) -> None:
        """Nothing is held between two pieces."""


class ErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong. `code` and `param` are for OpenAI clients and null when unused."""

    type: str
    message: str
    details: dict[str, Any]
    code: str | None
    param: str | None
    request_id: str
    retry_after: int | msgspec.UnsetType = msgspec.UNSET


class Error(msgspec.Struct, kw_only=True):
    """The one shape of every error."""

    error: ErrorBody


def error_json(failure: Failure, request_id: str) -> bytes:
    """The error shape as JSON: the body of a reply, or the data of a stream's one error event."""
    return msgspec.json.encode(
        Error(
            error=ErrorBody(
                type=failure.type,
                message=failure.message,
                details=failure.details,
                code=failure.code,
                param=failure.param,
                request_id=request_id,
                retry_after=msgspec.UNSET if failure.retry_after is None else failure.retry_after,
            )
        )
    )


def render_failure(failure: Failure, request_id: str, *, oauth: bool = False) -> Reply:
    """A failure as a reply: in the one shape, or with `oauth` in RFC 6749's."""
    headers = {"Content-Type": JSON, **failure.headers}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    return Reply(failure.status, headers, _oauth_json(failure) if oauth else error_json(failure, request_id))


def _oauth_json(failure: Failure) -> bytes:
    # the standard's words have no quotation marks (RFC 6749, 5.2) and are ASCII
    words = failure.message.replace('"', "'").encode("ascii", "replace").decode()
    kind = failure.code or _OAUTH_ERRORS.get(failure.status, "invalid_request")
    return msgspec.json.encode({"error": kind, "error_description": words})


_OAUTH_ERRORS = {401: "invalid_client", 403: "access_denied", 500: "server_error", 503: "temporarily_unavailable"}


def render(route: Route, outcome: Outcome, frames: Callable[[Stream], Frames]) -> Reply:
    """What a handler gave back, as a reply. `frames` starts the framing of a stream."""
    if outcome is None:
        return Reply(204)
    if isinstance(outcome, Stream):
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", **outcome.headers}
        # a proxy that buffers would hold the first token back
        headers["X-Accel-Buffering"] = "no"
        return Reply(200, headers, frames(outcome))
    if isinstance(outcome, Download):
        name = {"Content-Disposition": _attachment(outcome.filename)}
        # a file is kept, not shown: what somebody uploaded runs nothing here
        name["Content-Security-Policy"] = f"{DATA_POLICY}; sandbox"
        return Reply(200, {"Content-Type": outcome.content_type, **name}, _Pieces(outcome.pieces))
    if isinstance(outcome, Answer):
        headers = {"Content-Type": outcome.content_type} if outcome.body or outcome.status == 200 else {}
        return Reply(outcome.status, {**headers, **outcome.headers}, outcome.body, outcome.cookies)
    body = msgspec.json.encode(outcome)
    headers = {"Content-Type": JSON}
    if route.method == "GET" and route.status == 200 and len(body) <= ETAG_LIMIT:
        headers["ETag"] = etag(body, outcome)
    return Reply(route.status, headers, body)


def _attachment(filename: str) -> str:
    """A name in the header's own alphabet, and beside it the whole one where that is another (RFC 6266)."""
    plain = re.sub(r'[^ -~]|["\\\\%]', "_", filename)
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{plain}"{exact}'


class Weighed(Protocol):
    """A resource of which something changes by itself, such as progress: `If-Match` looks at the rest."""

    def weight(self) -> msgspec.Struct:
        """The resource as it is without that."""
        ...


def etag(body: bytes, shown: msgspec.Struct | None = None) -> str:
    """A strong entity tag: the same tag, the same bytes. Where something has no weight, the rest is before a dot."""
    return f'"{_digest(body)}"' if not _is_weighed(shown) else f'"{_weight(shown)}.{_digest(body)}"'


def _digest(body: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(body).digest()[:18]).decode()


def _is_weighed(shown: object) -> TypeGuard[Weighed]:
    return hasattr(shown, "weight")


def _weight(shown: Weighed) -> str:
    return _digest(msgspec.json.encode(shown.weight()))


def not_modified(reply: Reply, if_none_match: str | None) -> Reply:
    """An empty 304 instead of `reply` when the client has these bytes already (RFC 9110, 13.1.2: weak comparison)."""
    tag = reply.headers.get("ETag")
    if reply.status != 200 or tag is None or if_none_match is None or not _names(if_none_match, tag, weak=True):
        return reply
    kept = {name: value for name, value in reply.headers.items() if name != "Content-Type"}
    return Reply(304, kept)


def require_match(request: Request[Any, Any], current: msgspec.Struct) -> None:
    """Raise PreconditionFailed unless `If-Match`, when it was sent, names what the resource's GET answers now.

    Call it inside the write transaction, with the struct that a GET would give.
    """
    wanted = request.environ.get("HTTP_IF_MATCH")
    if wanted is None:
        return
    tag = etag(msgspec.json.encode(current))
    if _is_weighed(current):
        wanted, tag = re.sub(r'\.[^",]*"', '"', wanted), f'"{_weight(current)}"'
    if not _names(wanted, tag, weak=False):
        raise PreconditionFailed("The resource has changed since it was read: read it again and repeat the change.")


def _names(header: str, tag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    # our tags hold no comma, so that a plain split never cuts one of ours in two
    given = [part.strip() for part in header.split(",")]
    if weak:
        given = [part.removeprefix("W/") for part in given]
    return tag in given
