"""A tool that is a request to another server: where arguments go, and what comes back as text."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from secureai_appliance.conversations.toolbox.failures import ToolFailure

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]{0,63})\}")
_IN_BODY = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]{0,63})\s*\}\}")
_CHARSET = re.compile(r';\s*charset="?([A-Za-z0-9._:-]{1,40})"?', re.ASCII | re.IGNORECASE)
_CHARSETS = frozenset(
    {
        *("utf-8", "ascii", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "iso8859-9", "iso8859-15", "utf-16"),
        *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "koi8-r", "shift_jis", "cp932", "euc_jp", "euc_kr"),
        *("gb2312", "gbk", "gb18030", "big5"),
    }
)
_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml", "application/problem+json")
_SHOWN_OF_ERROR = 500
BODILESS = frozenset({"GET", "HEAD", "DELETE"})


@dataclass(frozen=True)
class Prepared:
    """A request as it is sent, but for the sealed headers."""

    method: str
    url: str
    body: bytes | None


def places(url: str) -> set[str]:
    """The names in `{…}`. Raises ValueError for one before the path: scheme and host are no argument's."""
    before = re.split(r"(?<![/:])/(?!/)|\?", url, maxsplit=1)[0]
    if "{" in before or "}" in before:
        raise ValueError("placeholders")
    return set(_PLACE.findall(url))


def prepare(method: str, url: str, template: Any, arguments: Mapping[str, Any]) -> Prepared:
    """The request for these arguments: `{name}` in the address, `{{name}}` in the body, the rest in query or body.

    An argument left out takes its `name={name}` out of the query. Raises ToolFailure for one that the path needs.
    """
    path, mark, query = url.partition("?")
    path = _PLACE.sub(lambda found: _segment(found[1], arguments), path)
    pairs = [_pair(part, arguments) for part in query.split("&")] if mark else []
    written = [pair for pair in pairs if pair is not None]
    placed = set(_PLACE.findall(url))
    left = {name: value for name, value in arguments.items() if name not in placed}
    if template is not None:
        body = msgspec.json.encode(_filled(template, arguments))
        return Prepared(method, _joined(path, written), body)
    if method in BODILESS:
        written += [urlencode({name: _text(value)}) for name, value in left.items() if value is not None]
        return Prepared(method, _joined(path, written), None)
    return Prepared(method, _joined(path, written), msgspec.json.encode(left))


def read(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """What the server said, as text. Raises ToolFailure for an error, a redirect, and what is no text."""
    text = body.decode(_charset(headers.get("content-type", "")), "replace")
    if 300 <= status < 400:
        raise ToolFailure("redirect", f"The server answered {status}: redirects are not followed.")
    kind = headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    if status >= 400:
        said = f": {text[:_SHOWN_OF_ERROR]}" if _is_text(kind) and text.strip() else "."
        raise ToolFailure("server_error" if status >= 500 else "refused", f"The server answered {status}{said}")
    coding = headers.get("content-encoding", "identity").strip().lower()
    if body and coding not in {"", "identity"}:
        raise ToolFailure("not_text", "The server answered in a content coding, which it was asked not to do.")
    if body and not _is_text(kind):
        raise ToolFailure("not_text", "The server answered something that is no text.")
    return text


def _charset(content_type: str) -> str:
    """The charset that the server names; UTF-8 where it names none, or one that is no text's."""
    found = _CHARSET.search(content_type)
    try:
        known = codecs.lookup(found[1]) if found is not None else None
    except LookupError:
        return "utf-8"
    # Python has others that make no text of bytes
    return known.name if known is not None and known.name in _CHARSETS else "utf-8"


def _is_text(kind: str) -> bool:
    return kind.startswith(_TEXT_TYPES) or kind.endswith(("+json", "+xml"))


def _segment(name: str, arguments: Mapping[str, Any]) -> str:
    if arguments.get(name) is None:
        raise ToolFailure("invalid_arguments", f"The argument '{name}' is needed for the address.")
    text = quote(_text(arguments[name]), safe="")
    if text in {"", ".", ".."}:
        raise ToolFailure("invalid_arguments", f"The argument '{name}' can't be part of an address.")
    return text


def _pair(part: str, arguments: Mapping[str, Any]) -> str | None:
    if any(arguments.get(name) is None for name in _PLACE.findall(part)):
        return None
    return _PLACE.sub(lambda found: quote(_text(arguments[found[1]]), safe=""), part)


def _joined(path: str, pairs: list[str]) -> str:
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def _filled(template: Any, arguments: Mapping[str, Any]) -> Any:
    """A text that is one placeholder becomes the argument, of whatever type; JSON is never put together as text."""
    if isinstance(template, str):
        whole = _IN_BODY.fullmatch(template)
        if whole is not None:
            return arguments.get(whole[1])
        return _IN_BODY.sub(lambda found: _text(arguments.get(found[1])), template)
    if isinstance(template, dict):
        return {name: _filled(value, arguments) for name, value in template.items()}
    return [_filled(value, arguments) for value in template] if isinstance(template, list) else template


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
