"""Forms with files (`multipart/form-data`), read piece by piece: no file has to fit into memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from secureai_appliance.core.errors import PayloadTooLarge, UnsupportedMediaType, ValidationError

TYPE = "multipart/form-data"
ROUTE = "secureai.route"
"""Where the environment has the route's template."""
MOST_PARTS = 200
_PIECE = 256 * 1024
_NAMED = re.compile(r"\{(\w+)\}")
_MOST_IN_A_FIELD = 8 * 1024


class Sink(Protocol):
    """Where the bytes of a file go."""

    def write(self, data: bytes | bytearray, /) -> object: ...


def is_form(environ: dict[str, Any]) -> bool:
    """Whether the body says that it is such a form."""
    return bool(parse_options_header(environ.get("CONTENT_TYPE", ""))[0] == TYPE)


def how(environ: dict[str, Any], fields: Sequence[str] = ("file",)) -> str:
    """A sentence for whoever sent a file in another way: how to send it here. `fields` are those that it takes."""
    # the route's own words: what a client puts in a path may be a secret, and is never said again
    path = _NAMED.sub(lambda name: name[1].upper(), environ[ROUTE])
    address = f"{environ.get('wsgi.url_scheme', 'http')}://{environ.get('HTTP_HOST', 'HOST')}{path}"
    parts = " ".join("-F file=@FILE" if name == "file" else f"-F {name}=…" for name in fields)
    return f"A file is sent as a form: curl -H 'Authorization: Bearer KEY' {parts} {address}"


def read(environ: dict[str, Any], limit: int, begin: Callable[[str, str], Sink]) -> dict[str, str]:
    """Read a form of at most `limit` bytes; the fields that are no files.

    `begin` is called for each `file` with its name and content type, and gives what takes its bytes. Raises
    UnsupportedMediaType, PayloadTooLarge, ValidationError for another file's field, a field twice or a broken form.
    """
    kind, options = parse_options_header(environ.get("CONTENT_TYPE", ""))
    if kind != TYPE or not options.get("boundary"):
        raise UnsupportedMediaType(
            f"The Content-Type names no boundary: leave it to the client, which makes it with the form. {how(environ)}"
        )
    fields: dict[str, str] = {}
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=MOST_PARTS, strict=True) as parser:
            _collect(parser, _pieces(environ, limit), begin, fields)
    except MultipartError as cause:
        raise ValidationError(f"The body is not a whole form. {how(environ)}", constraint="format") from cause
    return fields


def _collect(
    parser: PushMultipartParser, pieces: Iterator[bytes], begin: Callable[[str, str], Sink], fields: dict[str, str]
) -> None:
    name, sink, text = "", None, bytearray()
    for piece in pieces:
        for event in parser.parse(piece):
            if isinstance(event, MultipartSegment):
                name, text = event.name, bytearray()
                sink = _sink(event, begin, fields)
            elif event is None:
                if sink is None:
                    fields[name] = _decoded(name, text)
            elif sink is not None:
                sink.write(event)
            else:
                text += event
                if len(text) > _MOST_IN_A_FIELD:
                    raise ValidationError(f"The '{_shown(name)}' field is too long.", constraint="max_length")


def _sink(segment: MultipartSegment, begin: Callable[[str, str], Sink], fields: dict[str, str]) -> Sink | None:
    name = segment.name
    if name == "file":
        if not segment.filename:
            raise ValidationError(
                "The 'file' field must be a file with a name; curl sends one with '-F file=@FILE'.",
                field="file",
                constraint="filename",
            )
        return begin(segment.filename, segment.content_type or "")
    if segment.filename:
        raise ValidationError(
            f"A file is sent in the field 'file', not in '{_shown(name)}'; for more of them, repeat it.",
            field=_shown(name),
            constraint="unknown",
        )
    if name in fields:
        raise ValidationError(f"The '{_shown(name)}' field is there twice.", field=_shown(name), constraint="duplicate")
    return None


def _decoded(name: str, text: bytearray) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise ValidationError(
            f"The '{_shown(name)}' field is not UTF-8.", field=_shown(name), constraint="encoding"
        ) from cause


def _shown(name: str) -> str:
    return name[:100].encode("ascii", "replace").decode()


def _pieces(environ: dict[str, Any], limit: int) -> Iterator[bytes]:
    too_large = PayloadTooLarge(f"The body has more than {limit} bytes.", details={"max_bytes": limit})
    length = environ.get("CONTENT_LENGTH", "")
    if length and int(length) > limit:
        raise too_large
    if not length and not environ.get("wsgi.input_terminated"):
        return
    stream, left = environ["wsgi.input"], int(length or limit + 1)
    while left and (piece := stream.read(min(_PIECE, left))):
        left -= len(piece)
        if not length and left <= 0:
            raise too_large
        yield piece
