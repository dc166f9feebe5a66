"""PDF, by PyMuPDF: paragraphs in reading order, headings, tables; also what OCR has put behind a scan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymupdf

from secureai_appliance.knowledge.extract.extracted import Draft, Unreadable
from secureai_appliance.knowledge.extract.pdf_layout import (
    Box,
    Part,
    Sheet,
    heading_sizes,
    in_reading_order,
    level_of,
    without_furniture,
)

_FLAGS = pymupdf.TEXTFLAGS_DICT & ~pymupdf.TEXT_PRESERVE_IMAGES
_BOLD = 16
# finding tables takes most of the time, and grows with the square of lines: maps are no tables, nor are pages without
# any line (measured: the tables found are the same)
_MOST_DRAWINGS = 4_000
_FEWEST_DRAWINGS = 2
_HYPHENATED = re.compile(r"(?<=\w)[-\u00ad]\n(?=[a-zà-öø-ÿα-ωа-я])")
_LEADERS = re.compile(r"(?: ?\.){6,}")
_FACTS = {"title": "title", "author": "author", "subject": "subject", "creationDate": "created", "modDate": "modified"}


def read(path: Path, draft: Draft, password: str | None = None, layout: bool = True) -> None:
    """All pages; without `layout`, tables are not looked for. Raises Unreadable (`encrypted`, `too_large`)."""
    pymupdf.no_recommend_layout()
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    with pymupdf.open(path, filetype="pdf") as document:
        _open(document, password)
        if document.page_count > draft.limits.pages:
            raise Unreadable("too_large", f"The file has more than {draft.limits.pages:,} pages.")
        for name, key in _FACTS.items():
            draft.describe(**{key: (document.metadata or {}).get(name)})
        draft.page_count = document.page_count
        contents = _table_of_contents(document)
        sheets = []
        for number in range(document.page_count):
            sheets.append(_sheet(document[number], layout))
            draft.done((number + 1) / document.page_count)
    without_furniture(sheets)
    body, sizes = heading_sizes(sheets)
    for number, sheet in enumerate(sheets, 1):
        draft.page = number
        for part in sheet.parts:
            level = contents.get((number, _plain(part.text))) or level_of(part, body, sizes)
            if part.rows is not None:
                draft.table(part.rows)
            elif level:
                draft.heading(part.text, level)
            else:
                draft.paragraph(part.text)


def _open(document: Any, password: str | None) -> None:
    if document.needs_pass and not document.authenticate(password or ""):
        message = "The password is wrong." if password else "The file is encrypted: it needs its password."
        raise Unreadable("encrypted", message)
    if document.page_count == 0:
        raise Unreadable("damaged", "The file is damaged: it has no pages.")


def _table_of_contents(document: Any) -> dict[tuple[int, str], int]:
    try:
        entries = document.get_toc(simple=True)
    except (RuntimeError, ValueError, TypeError, AttributeError):  # a broken outline doesn't spoil the pages
        return {}
    return {(page, _plain(title)): level for level, title, page in entries if _plain(title)}


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalpha())


def _sheet(page: Any, layout: bool) -> Sheet:
    # one set of glyph positions for text and tables
    words = page.get_textpage(flags=_FLAGS)
    parts = list(_paragraphs(page.get_text("dict", textpage=words)["blocks"]))
    if layout and parts and _FEWEST_DRAWINGS <= len(page.get_cdrawings()) <= _MOST_DRAWINGS:
        tables = list(_tables(page))
        parts = [part for part in parts if not any(_inside(part.box, table.box) for table in tables)] + tables
    return Sheet(page.rect.width, page.rect.height, in_reading_order(parts))


def _paragraphs(blocks: list[dict[str, Any]]) -> Iterator[Part]:
    for block in blocks:
        group: list[dict[str, Any]] = []
        for line in block.get("lines", []):
            # one block may go from a heading to its text: another size begins another part
            if group and abs(_size(group[-1]) - _size(line)) > 1.0 and not _beside(group[-1], line):
                yield from _part(group)
                group = []
            group.append(line)
        yield from _part(group)


def _part(lines: list[dict[str, Any]]) -> Iterator[Part]:
    shown: list[str] = []
    rows = 0
    for number, line in enumerate(lines):
        text = "".join(span["text"] for span in line["spans"])
        if number and _beside(lines[number - 1], line):
            shown[-1] += " " + text
        else:
            shown.append(text.rstrip())
            rows += 1
    text = _LEADERS.sub(" … ", _HYPHENATED.sub("", "\n".join(shown))).strip()
    if not text:
        return
    box = (
        min(line["bbox"][0] for line in lines),
        min(line["bbox"][1] for line in lines),
        max(line["bbox"][2] for line in lines),
        max(line["bbox"][3] for line in lines),
    )
    spans = [span for line in lines for span in line["spans"] if span["text"].strip()]
    bold = bool(spans) and all(span["flags"] & _BOLD or "Bold" in span["font"] for span in spans)
    yield Part(box, text, max((_size(line) for line in lines), default=0.0), bold, rows)


def _size(line: dict[str, Any]) -> float:
    """Half points, so that what is set in one size stays one size."""
    longest = max(line["spans"], key=lambda span: len(span["text"]), default=None)
    return round(longest["size"] * 2) / 2 if longest else 0.0


def _beside(before: dict[str, Any], line: dict[str, Any]) -> bool:
    """Whether two lines stand at the same height."""
    top, bottom = max(before["bbox"][1], line["bbox"][1]), min(before["bbox"][3], line["bbox"][3])
    height = min(before["bbox"][3] - before["bbox"][1], line["bbox"][3] - line["bbox"][1])
    return bool(bottom - top > height * 0.6)


def _tables(page: Any) -> Iterator[Part]:
    for table in page.find_tables().tables:
        rows = [[cell or "" for cell in row] for row in table.extract()]
        cells = [cell for row in rows for cell in row]
        if len(rows) < 2 or len(rows[0]) < 2 or sum(bool(cell.strip()) for cell in cells) < max(4, len(cells) // 5):
            continue
        yield Part(tuple(table.bbox), "", rows=rows)


def _inside(box: Box, other: Box) -> bool:
    """Whether most of a part lies within a table."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    along = min(box[3], other[3]) - max(box[1], other[1])
    area = max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)
    return across > 0 and along > 0 and across * along > area * 0.6
