"""Plain text and Markdown: read, cut into chunks, and turned into the terms under which they are found."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_WORD = re.compile(r"\w+")
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
_MOST_BYTES = 64 * 1024 * 1024


class Unreadable(Exception):
    """A file that gives no text. `code` is the document's error code; `message` can be shown."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Extracted:
    """The text of a file, and what it says of itself."""

    content_type: str
    text: str
    metadata: dict[str, str] = field(default_factory=dict)
    page_count: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Characters `start` to `end` of the text, which are `text`; `headings` lead to them."""

    text: str
    start: int
    end: int
    page: int | None = None
    headings: list[str] = field(default_factory=list)

    def passage(self) -> str:
        """What is embedded and indexed."""
        return "\n".join(part for part in (" > ".join(self.headings), self.text) if part)


def read(path: Path, filename: str, content_type: str | None) -> Extracted:
    """The text of a UTF-8 file. Raises Unreadable."""
    if path.stat().st_size > _MOST_BYTES:
        raise Unreadable("too_large", "The file is too large.")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as cause:
        raise Unreadable("unsupported_type", "This type of file can't be read: text and Markdown can.") from cause
    if "\0" in text:
        raise Unreadable("unsupported_type", "This type of file can't be read: text and Markdown can.")
    if not text.strip():
        raise Unreadable("no_text", "There is no text in the file.")
    markdown = filename.lower().endswith((".md", ".markdown")) or content_type == "text/markdown"
    return Extracted("text/markdown" if markdown else "text/plain", text)


def chunked(document: Extracted, size: int, overlap: int, count: Callable[[str], int]) -> list[Chunk]:
    """The chunks of a document in its order, each of at most about `size` tokens."""
    chunks: list[Chunk] = []
    headings: list[str] = []
    start: int | None = None
    under: list[str] = []
    used = 0
    end = 0

    def close() -> None:
        nonlocal start, used
        if start is not None and document.text[start:end].strip():
            chunks.append(Chunk(document.text[start:end], start, end, None, under))
        start, used = None, 0

    for match in re.finditer(r"[^\n]+", document.text):
        heading = _HEADING.match(match[0]) if document.content_type == "text/markdown" else None
        if heading:
            close()
            headings = [*headings[: len(heading[1]) - 1], heading[2]]
            continue
        for piece in _pieces(match, size, count):
            tokens = count(document.text[piece[0] : piece[1]])
            if used + tokens > size:
                close()
            if start is None:
                start, under = piece[0], list(headings)
            end, used = piece[1], used + tokens
    close()
    return chunks


def _pieces(line: re.Match[str], size: int, count: Callable[[str], int]) -> list[tuple[int, int]]:
    spans = [line.span()]
    done: list[tuple[int, int]] = []
    while spans:
        begin, end = spans.pop(0)
        if end - begin < 2 or count(line.string[begin:end]) <= size:
            done.append((begin, end))
            continue
        middle = line.string.rfind(" ", begin + 1, (begin + end) // 2) + 1 or (begin + end) // 2
        spans[:0] = [(begin, middle), (middle, end)]
    return done


def terms(text: str) -> str:
    """The terms of a text, joined by spaces."""
    return " ".join(_WORD.findall(text.casefold()))


def query_terms(text: str) -> list[list[str]]:
    """The words of a query, each as the terms of which a document holds one."""
    return [[word] for word in dict.fromkeys(_WORD.findall(text.casefold()))]
