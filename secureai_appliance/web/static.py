"""`/static/{file}`: the files beside the program. Read once; nothing outside the folder can be named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import msgspec

from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.paths import assets
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import etag

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".woff2": "font/woff2",
}


class Version(msgspec.Struct):
    """`v`: which content the page was made for; with it an answer may be kept for ever."""

    v: str | None = None


@dataclass(frozen=True)
class _File:
    body: bytes
    content_type: str
    tag: str


@cache
def _files() -> dict[str, _File]:
    return {
        path.name: _File(path.read_bytes(), _TYPES[path.suffix], etag(path.read_bytes()))
        for path in (assets() / "static").iterdir()
        if path.suffix in _TYPES
    }


def link(name: str) -> str:
    """The address of a file with its version, for pages."""
    return f"/static/{name}?v={_version(_files()[name])}"


def serve(request: Request[None, Version]) -> Answer:
    """A file. Raises NotFound."""
    file = _files().get(request.path["file"])
    if file is None:
        raise NotFound("There is no such file.")
    asked = request.query.v == _version(file)
    headers = {
        "ETag": file.tag,
        "Cache-Control": "public, max-age=31536000, immutable" if asked else "public, no-cache",
    }
    return Answer(body=file.body, content_type=file.content_type, headers=headers)


def _version(file: _File) -> str:
    return file.tag.strip('"')
