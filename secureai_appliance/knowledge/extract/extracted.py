"""What comes out of a file: one canonical text, and the blocks that it is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

Code = Literal[
    "encrypted", "damaged", "no_text", "too_large", "unsupported_type", "timeout", "resource_limit", "cancelled"
]
BlockKind = Literal["heading", "paragraph", "table", "code"]

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n{3,}")


class Unreadable(Exception):
    """A file that gives no text. `code` is the document's error code; `message` can be shown (no path)."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one extraction: wall and processor seconds, bytes of memory, and how much may come out of a file.

    Of the files in it `attachments` is bytes, `attached` their number.
    """

    seconds: float = 600.0
    cpu_seconds: int = 600
    memory: int = 2 << 30
    characters: int = 50_000_000
    pages: int = 50_000
    unpacked: int = 1 << 30
    entries: int = 20_000
    attachments: int = 128 << 20
    attached: int = 1000


class Block(msgspec.Struct, omit_defaults=True):
    """Characters `start` to `end` of the text.

    `level` is a heading's (1 is the outermost). `page` counts from 1, where a file has pages or slides. A table is
    Markdown, one line a row; its first `header_lines` name the columns. In a sheet, `row` is the number that the
    table's first line has there (the line under the names of columns has none).
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    page: int | None = None
    header_lines: int = 0
    sheet: str | None = None
    row: int | None = None


class Attachment(msgspec.Struct):
    """A file inside the file, to be a document of its own."""

    filename: str
    content_type: str
    data: bytes


class Extracted(msgspec.Struct):
    """The text of a file. `metadata` has `title`, `author`, `created`, … as far as the file says them."""

    content_type: str
    text: str
    blocks: list[Block]
    metadata: dict[str, str]
    page_count: int | None
    attachments: list[Attachment]


class Draft:
    """Collects the blocks of a file in reading order. Raises Unreadable (`too_large`) beyond the bounds."""

    def __init__(self, limits: Limits, on_progress: Callable[[float], None] = lambda share: None) -> None:
        self.limits = limits
        self.on_progress = on_progress
        self.page: int | None = None
        self.page_count: int | None = None
        self.metadata: dict[str, str] = {}
        self.attachments: list[Attachment] = []
        self.blocks: list[Block] = []
        self._pieces: list[str] = []
        self._length = 0
        self._attached = 0

    def heading(self, text: str, level: int) -> None:
        self._add(" ".join(clean(text).split()), "heading", level=max(1, min(level, 9)))

    def paragraph(self, text: str) -> None:
        self._add(clean(text), "paragraph")

    def code(self, text: str) -> None:
        """Text whose line breaks and indents count."""
        self._add(_CONTROL.sub("", text.replace("\r\n", "\n").expandtabs(4)).strip("\n"), "code")

    def table(
        self, rows: Iterable[Sequence[str]], *, header: bool = True, sheet: str | None = None, row: int | None = None
    ) -> None:
        """Rows of cells; the first names the columns if `header`. Columns and rows without any text are left out."""
        cells = [[_cell(value) for value in values] for values in rows]
        if row is None:
            cells = [values for values in cells if any(values)]
        width = max((len(values) for values in cells), default=0)
        used = [index for index in range(width) if any(index < len(values) and values[index] for values in cells)]
        if not used:
            return
        lines = [
            "| " + " | ".join(values[index] if index < len(values) else "" for index in used) + " |" for values in cells
        ]
        header_lines = 0
        if header and len(lines) > 1:
            lines.insert(1, "|" + " --- |" * len(used))
            header_lines = 2
        self._add("\n".join(lines), "table", header_lines=header_lines, sheet=sheet, row=row)

    def attach(self, attachment: Attachment) -> None:
        """Keep a file that is inside the file. Raises Unreadable (`too_large`)."""
        self.attachments.append(attachment)
        self._attached += len(attachment.data)
        if self._attached > self.limits.attachments or len(self.attachments) > self.limits.attached:
            raise Unreadable("too_large", "The files attached to it are too large, or too many.")

    def describe(self, **facts: object) -> None:
        """Keep what the file says about itself; what is empty is not kept."""
        for name, value in facts.items():
            text = " ".join(clean(str(value)).split())[:1000] if value else ""
            if text:
                self.metadata[name] = text

    def done(self, share: float) -> None:
        """Tell how much of the file has been read, between 0 and 1."""
        self.on_progress(share)

    def finish(self, content_type: str) -> Extracted:
        """The whole. Raises Unreadable (`no_text`)."""
        if not self.attachments and not self.blocks:
            raise Unreadable("no_text", "There is no text in the file.")
        text = "".join(self._pieces)
        return Extracted(content_type, text, self.blocks, self.metadata, self.page_count, self.attachments)

    def _add(
        self,
        text: str,
        kind: BlockKind,
        *,
        level: int = 0,
        header_lines: int = 0,
        sheet: str | None = None,
        row: int | None = None,
    ) -> None:
        if not text or text.isspace():
            return
        if self._pieces:
            self._pieces.append("\n\n")
            self._length += 2
        start, self._length = self._length, self._length + len(text)
        if self._length > self.limits.characters:
            raise Unreadable("too_large", f"There are more than {self.limits.characters:,} characters in the file.")
        self._pieces.append(text)
        self.blocks.append(Block(kind, start, self._length, level, self.page, header_lines, sheet, row))


def clean(text: str) -> str:
    """Without control characters and halves of characters; runs of spaces are one, lines are trimmed."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n"))
    text = "\n".join(line.strip() for line in _SPACES.sub(" ", text).split("\n"))
    return _LINES.sub("\n\n", text).strip()


def _cell(text: str) -> str:
    return " ".join(_CONTROL.sub("", text).split()).replace("|", "\\|")
