"""Plain text, in whatever encoding."""

from __future__ import annotations

import re
from pathlib import Path

from charset_normalizer import from_bytes

from secureai_appliance.knowledge.extract.extracted import Draft, Unreadable

_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n+")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SAMPLE = 1 << 20


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """Paragraphs end at empty lines; a form feed begins a page."""
    pages = decoded(path, draft).split("\f")
    if len(pages) > 1:
        draft.page_count = len(pages)
    for number, page in enumerate(pages, 1):
        draft.page = number if len(pages) > 1 else None
        for paragraph in _PARAGRAPHS.split(page.replace("\r\n", "\n").replace("\r", "\n")):
            draft.paragraph(paragraph)
        draft.done(number / len(pages))


def decoded(path: Path, draft: Draft) -> str:
    """The characters of a text file. Raises Unreadable."""
    if path.stat().st_size > draft.limits.characters * 4:
        raise Unreadable("too_large", f"There are more than {draft.limits.characters:,} characters in the file.")
    return decoded_bytes(path.read_bytes())


def decoded_bytes(data: bytes, declared: str | None = None) -> str:
    """Characters of bytes: by the mark at the start, as UTF-8, as declared, or by what is most likely."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    for candidate in ("utf-8", declared):
        try:
            if candidate and b"\0" not in data[:1000]:
                return data.decode(candidate)
        except (UnicodeDecodeError, LookupError):
            continue
    best = from_bytes(data[:_SAMPLE]).best()
    if best is None:
        raise Unreadable("damaged", "The encoding of the text can't be made out.")
    return data.decode(best.encoding, "replace")
