"""What is wrong according to another server, in our one tree of failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from secureai_appliance.core.errors import Failure, ServiceUnavailable, UnprocessableEntity, every_failure

_SHOWN = 500
_RETRY_AFTER = 10
_LONGEST_RETRY = 3600
# these say something about the request, so that whoever sent it is told; all else is between the two servers
_PASSED_ON = {400, 404, 413, 415, 422, 429}
_OUR_KEY = {401, 403, 407}
_BY_STATUS = {kind.status: kind for kind in reversed(every_failure()) if kind.type != "invalid_json"}


def failure_of_status(name: str, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure for an answer of the server of the model `name` that is no success."""
    said = _message(body)
    retry_after = _seconds(headers.get("retry-after"))
    if status in _OUR_KEY:
        return ServiceUnavailable(
            f"The server of the remote model '{name}' refuses the key that it was given.",
            code="remote_refused",
            retry_after=_RETRY_AFTER,
        )
    if status in _PASSED_ON:
        kind = _BY_STATUS[status]
        text = said or f"The server of the remote model '{name}' answers {status}."
        return kind(text, code=_code(body), retry_after=(retry_after or _RETRY_AFTER) if status == 429 else None)
    if 400 <= status < 500:
        return UnprocessableEntity(said or f"The server of the remote model '{name}' answers {status}.")
    return ServiceUnavailable(
        f"The server of the remote model '{name}' answers {status}" + (f": {said}" if said else "."),
        code="remote_unavailable",
        retry_after=retry_after or _RETRY_AFTER,
    )


def failure_of_event(name: str, data: bytes) -> Failure | None:
    """The failure that an event of a stream tells; None: it is part of the answer."""
    if not data.startswith(b"{") or b'"error"' not in data:
        return None
    value = _decoded(data)
    if not isinstance(value, dict) or not value.get("error"):
        return None
    return ServiceUnavailable(
        f"The server of the remote model '{name}' failed: {_message(data) or 'it does not say why'}",
        code="remote_unavailable",
        retry_after=_RETRY_AFTER,
    )


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _message(body: bytes) -> str:
    """What the server says is wrong, in the places where servers say it."""
    value = _decoded(body)
    if not isinstance(value, dict):
        return ""
    error = value.get("error", value)
    found = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    if not isinstance(found, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in found)[:_SHOWN]


def _code(body: bytes) -> str | None:
    value = _decoded(body)
    error = value.get("error") if isinstance(value, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code[:100] if isinstance(code, str) else None


def _seconds(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 10):
        return None
    return max(1, min(int(text), _LONGEST_RETRY))
