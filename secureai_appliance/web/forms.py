"""Routes that take a form with files, or JSON in its place: whoever sends a file in another way is told how."""

from __future__ import annotations

from typing import Any

import msgspec

from secureai_appliance.core.errors import InvalidJson, PayloadTooLarge, UnsupportedMediaType, ValidationError
from secureai_appliance.web import body, multipart
from secureai_appliance.web.route import Route


def how(environ: dict[str, Any], route: Route) -> str:
    """How a file is sent to this route; empty when it takes none."""
    if route.multipart is None:
        return ""
    fields = [field.name for field in msgspec.structs.fields(route.multipart) if field.required]
    return multipart.how(environ, fields)


def read_json(environ: dict[str, Any], route: Route) -> tuple[bytes, msgspec.Struct]:
    """The body and what it says. Raises UnsupportedMediaType, InvalidJson, ValidationError, PayloadTooLarge."""
    assert route.body is not None
    if not body.is_json(environ) and environ.get("CONTENT_LENGTH", "0") not in {"", "0"}:
        # most likely it is the file itself, which may be too large for JSON
        raise UnsupportedMediaType(f"The body is neither a form nor JSON. {how(environ, route)}")
    try:
        raw = body.read(environ, route.max_body)
        return raw, body.decode(raw, environ, route.body, ignore_unknown=False)[0]
    except (InvalidJson, PayloadTooLarge, ValidationError) as failure:
        failure.message += f" {how(environ, route)}"
        raise
