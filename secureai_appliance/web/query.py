"""Query strings: decoded into a struct as strictly as bodies; and what forms share with them."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from secureai_appliance.core import decoding
from secureai_appliance.core.decoding import Place
from secureai_appliance.core.errors import ValidationError

T = TypeVar("T", bound=msgspec.Struct)

MAX_PARAMETERS = 50


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Of a route without a query."""


def decode(text: str, kind: type[T], *, ignore_unknown: bool) -> tuple[T, list[str]]:
    """The struct, and the names of what was ignored (only with `ignore_unknown`). Raises ValidationError."""
    try:
        # WSGI hands the bytes over as latin-1
        given = pairs(text.encode("latin-1").decode("utf-8"), decoding.PARAMETER)
    except UnicodeError as cause:
        raise ValidationError("The query is not UTF-8.", constraint="encoding") from cause
    known = decoding.known_fields(kind).names
    ignored = [name for name in given if name not in known] if ignore_unknown else []
    for name in ignored:
        del given[name]
    return decoding.convert(given, kind, decoding.PARAMETER, strict=False), ignored


def pairs(text: str, place: Place) -> dict[str, str]:
    """The names and values of `a=1&b=2`, of a query or of a form. Raises ValidationError."""
    try:
        found = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeError as cause:
        raise ValidationError(f"{place.whole} is not UTF-8.", constraint="encoding") from cause
    except ValueError as cause:
        raise ValidationError(
            f"{place.whole} has more than {MAX_PARAMETERS} {place.noun}s.", constraint="max_items"
        ) from cause
    given: dict[str, str] = {}
    for name, value in found:
        if name in given:
            raise ValidationError(
                f"The '{name[:200]}' {place.noun} is given twice.", field=name[:200], constraint="duplicate"
            )
        given[name] = value
    return given
