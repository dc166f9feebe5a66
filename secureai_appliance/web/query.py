"""Query strings: decoded into a struct as strictly as bodies."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.web import decoding

T = TypeVar("T", bound=msgspec.Struct)

MAX_PARAMETERS = 50


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Of a route without a query."""


def decode(text: str, kind: type[T], *, ignore_unknown: bool) -> tuple[T, list[str]]:
    """The struct, and the names of what was ignored (only with `ignore_unknown`). Raises ValidationError."""
    given = _pairs(text)
    known = decoding.known_fields(kind).names
    ignored = [name for name in given if name not in known] if ignore_unknown else []
    for name in ignored:
        del given[name]
    return decoding.convert(given, kind, decoding.PARAMETER, strict=False), ignored


def _pairs(text: str) -> dict[str, str]:
    try:
        # WSGI hands the bytes over as latin-1
        pairs = parse_qsl(
            text.encode("latin-1").decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except UnicodeError as cause:
        raise ValidationError("The query is not UTF-8.", constraint="encoding") from cause
    except ValueError as cause:
        raise ValidationError(
            f"The query has more than {MAX_PARAMETERS} parameters.", constraint="max_items"
        ) from cause
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise ValidationError(
                f"The '{name[:200]}' parameter is given twice.", field=name[:200], constraint="duplicate"
            )
        given[name] = value
    return given
