"""Request bodies: read up to a bound, checked as bytes, parsed so that no two readers disagree, decoded strictly."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any, TypeVar

import msgspec

from secureai_appliance.core import decoding
from secureai_appliance.core.errors import (
    InvalidJson,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationError,
)
from secureai_appliance.web import query

T = TypeVar("T", bound=msgspec.Struct)

MAX_NESTING = 64
MAX_VALUES = 1_100_000
"""In one body. Parsing holds the interpreter, so that this bounds how long everybody else waits: tenths of a second.

Enough for the largest embedding request there is: 2,048 inputs of 512 tokens.
"""

# possessive, and content with a string that never ends: linear in the length whatever the bytes are
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TO_ROUND = bytes.maketrans(b"[]{}", b"()()")
# what could be a number that does not fit 64 bits; only then are numbers looked at one by one
_LONG_NUMBER = re.compile(rb"\d{19}|[eE]\+?\d{3}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PIECE = 256 * 1024
_FORM_TYPE = "application/x-www-form-urlencoded"
_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")
_INT64 = range(-(2**63), 2**63)


def read(environ: dict[str, Any], limit: int) -> bytes:
    """The whole body, at most `limit` bytes. Raises PayloadTooLarge; ValidationError when it is cut short."""
    announced = _content_length(environ)
    if announced is not None and announced > limit:
        raise _too_large(limit)
    terminated = bool(environ.get("wsgi.input_terminated"))
    if announced is None and not terminated:
        return b""  # WSGI: without a length there is nothing that could be read safely
    stream = environ["wsgi.input"]
    body: bytes = stream.read(limit + 1 if announced is None else announced)
    if len(body) > limit:
        raise _too_large(limit)
    if announced is not None and len(body) < announced:
        raise ValidationError("The body is shorter than its Content-Length.", constraint="content_length")
    return body


def digest(environ: dict[str, Any]) -> bytes:
    """SHA-256 of a body that is left to be read. Form data is delimited by what the client chose: that counts too."""
    stream, found = environ["wsgi.input"], hashlib.sha256(environ.get("CONTENT_TYPE", "").encode())
    while piece := stream.read(_PIECE):
        found.update(piece)
    stream.seek(0)
    return found.digest()


def decode(body: bytes, environ: dict[str, Any], kind: type[T], *, ignore_unknown: bool) -> tuple[T, list[str]]:
    """The struct, and the names of what was ignored (only with `ignore_unknown`).

    Raises UnsupportedMediaType, InvalidJson, ValidationError.
    """
    if body:
        _check_type(environ)
    value = parse(body)
    ignored = (
        decoding.unknown_fields(value, decoding.known_fields(kind))
        if ignore_unknown and isinstance(value, dict)
        else []
    )
    return decoding.convert(value, kind, decoding.FIELD), ignored


def require_type(environ: dict[str, Any], wanted: str) -> None:
    """Raise UnsupportedMediaType unless the body says that it is `wanted`."""
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != wanted:
        raise UnsupportedMediaType(f"Send 'Content-Type: {wanted}'.")


def decode_form(body: bytes, environ: dict[str, Any]) -> dict[str, str]:
    """The fields of a form; each once. Raises UnsupportedMediaType, ValidationError."""
    if not body:
        return {}
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise UnsupportedMediaType(f"The body must be a form: send 'Content-Type: {_FORM_TYPE}'.")
    _check_encoding(environ)
    try:
        # what is not in this alphabet is percent-encoded; only names and values of that are UTF-8
        return query.pairs(body.decode("ascii"), decoding.FIELD)
    except UnicodeDecodeError as cause:
        raise ValidationError("The body is not URL-encoded.", constraint="encoding") from cause


def parse(body: bytes) -> Any:
    """JSON in UTF-8 as Python values. Raises InvalidJson; PayloadTooLarge when there are too many of them."""
    if not body.strip():
        raise InvalidJson("The body is empty; this needs a JSON object.", constraint="json")
    try:
        text = body.decode()
    except UnicodeDecodeError as cause:
        raise InvalidJson("The body is not UTF-8.", constraint="encoding") from cause
    bare, strings = _STRING.subn(b"", body, count=MAX_VALUES + 1)
    if strings > MAX_VALUES or sum(map(bare.count, (b",", b"[", b"{"))) >= MAX_VALUES:
        raise PayloadTooLarge(f"The body has more than {MAX_VALUES} values.", details={"max_values": MAX_VALUES})
    _check_nesting(bare)
    try:
        value = _load(text, careful=_LONG_NUMBER.search(bare) is not None)
    except json.JSONDecodeError as cause:
        raise InvalidJson(
            f"The body is not JSON: line {cause.lineno}, column {cause.colno}.", constraint="json"
        ) from cause
    except RecursionError as cause:
        raise _too_deep() from cause
    if _SURROGATE.search(body):
        _check_surrogates(value)
    return value


def _content_length(environ: dict[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ValidationError("The Content-Length is not a length.", constraint="content_length")
    return int(text)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body has more than {limit} bytes.", details={"max_bytes": limit})


def is_json(environ: dict[str, Any]) -> bool:
    """Whether the body says that it is JSON."""
    return bool(_JSON_TYPE.fullmatch(environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()))


def _check_type(environ: dict[str, Any]) -> None:
    _, *parameters = environ.get("CONTENT_TYPE", "").split(";")
    if not is_json(environ):
        raise UnsupportedMediaType("The body must be JSON: send 'Content-Type: application/json'.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8", "us-ascii"}:
            raise UnsupportedMediaType("The body must be JSON in UTF-8.")
    _check_encoding(environ)


def _check_encoding(environ: dict[str, Any]) -> None:
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def _check_nesting(bare: bytes) -> None:
    """Refuse what is nested too deep, before a parser recurses into it. `bare` is the body without its strings.

    Each round takes the innermost pairs away, so that what is left after `MAX_NESTING` rounds was deeper. Whether pairs
    match and are closed is the parser's to say.
    """
    brackets = bare.translate(_TO_ROUND, _NOT_BRACKETS)
    for _ in range(MAX_NESTING):
        shorter = brackets.replace(b"()", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    if b"()" in brackets or brackets.count(b"(") > MAX_NESTING:
        raise _too_deep()


def _too_deep() -> InvalidJson:
    return InvalidJson(f"The body is nested deeper than {MAX_NESTING} levels.", constraint="nesting")


def _load(text: str, *, careful: bool) -> Any:
    if careful:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_int64,
            parse_float=_finite,
        )
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        shown = double[:100].encode(errors="replace").decode()
        raise InvalidJson(f"The name '{shown}' occurs twice in one object.", field=shown, constraint="duplicate")
    return found


def _no_constant(name: str) -> Any:
    raise InvalidJson(f"{name} is not JSON.", constraint="json")


def _int64(text: str) -> int:
    if len(text) > 20 or int(text) not in _INT64:
        raise InvalidJson("A whole number in the body does not fit 64 bits.", constraint="number")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidJson("A number in the body is too large.", constraint="number")
    return number


def _check_surrogates(value: Any) -> None:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as cause:
        raise InvalidJson("The body holds half of a surrogate pair.", constraint="encoding") from cause
