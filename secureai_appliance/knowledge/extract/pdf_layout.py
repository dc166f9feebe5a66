"""The order in which a page of a PDF is read, and which of its lines are headings or furniture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Box = tuple[float, float, float, float]

_MARGIN = 0.1
_MOST_LEVELS = 4


@dataclass
class Part:
    """One paragraph or table of a page; `size` is that of its letters in points. `rows` are a table's."""

    box: Box
    text: str
    size: float = 0.0
    bold: bool = False
    lines: int = 1
    rows: list[list[str]] | None = None


@dataclass
class Sheet:
    """The parts of a page in reading order; `width` and `height` in points."""

    width: float
    height: float
    parts: list[Part] = field(default_factory=list)


def in_reading_order(parts: Sequence[Part]) -> list[Part]:
    """Columns from left to right, each from top to bottom; what spans columns separates what is above and below it."""
    if len(parts) < 3:
        return sorted(parts, key=_top)
    left, right = min(part.box[0] for part in parts), max(part.box[2] for part in parts)
    gutters = _gutters(parts, left, right)
    if not gutters:
        return sorted(parts, key=_top)
    ordered: list[Part] = []
    band: list[Part] = []
    for part in sorted(parts, key=_top):
        if any(part.box[0] < gutter < part.box[2] for gutter in gutters):
            ordered += _by_columns(band, gutters)
            ordered.append(part)
            band = []
        else:
            band.append(part)
    return ordered + _by_columns(band, gutters)


def _by_columns(parts: Sequence[Part], gutters: Sequence[float]) -> list[Part]:
    def place(part: Part) -> tuple[int, float, float]:
        return sum(part.box[0] >= gutter for gutter in gutters), *_top(part)

    return sorted(parts, key=place)


def _gutters(parts: Sequence[Part], left: float, right: float) -> list[float]:
    """Middles of the white stripes between columns, found without the parts that are wider than half of the page."""
    width = right - left
    narrow = sorted((part for part in parts if part.box[2] - part.box[0] < width * 0.55), key=lambda part: part.box[0])
    if len(narrow) < 3 or sum(part.lines for part in narrow) < 6:
        return []
    columns: list[list[Part]] = []
    edge = -1.0
    for part in narrow:
        if not columns or part.box[0] > edge + 4:
            columns.append([])
        columns[-1].append(part)
        edge = max(edge, part.box[2])
    # a column is broad and has several lines; a number in the margin is none
    broad = [
        column
        for column in columns
        if max(part.box[2] for part in column) - min(part.box[0] for part in column) > width * 0.15
        and sum(part.lines for part in column) >= 3
    ]
    if len(broad) < 2 or len(broad) != len(columns):
        return []
    return [
        (max(part.box[2] for part in before) + min(part.box[0] for part in after)) / 2
        for before, after in pairwise(columns)
    ]


def _top(part: Part) -> tuple[float, float]:
    return round(part.box[1]), part.box[0]


def without_furniture(sheets: Sequence[Sheet]) -> None:
    """Take away page numbers and what stands at the same height at the edge of a third of all pages.

    What stands alone on most pages is no furniture but what they say.
    """
    if len(sheets) < 3:
        return
    seen: Counter[tuple[str, int]] = Counter()
    for sheet in sheets:
        seen.update({_mark(part) for part in sheet.parts if _at_edge(part, sheet)})
    often = max(3, len(sheets) // 3)
    kept = [
        [part for part in sheet.parts if not (_at_edge(part, sheet) and seen[_mark(part)] >= often)] for sheet in sheets
    ]
    emptied = sum(not parts and bool(sheet.parts) for sheet, parts in zip(sheets, kept, strict=True))
    if emptied * 2 > sum(bool(sheet.parts) for sheet in sheets):
        return
    for sheet, parts in zip(sheets, kept, strict=True):
        sheet.parts = parts


def _at_edge(part: Part, sheet: Sheet) -> bool:
    if part.rows is not None or len(part.text) > 200:
        return False
    return part.box[3] < sheet.height * _MARGIN or part.box[1] > sheet.height * (1 - _MARGIN)


def _mark(part: Part) -> tuple[str, int]:
    return re.sub(r"\d+", "0", part.text), round(part.box[1] / 6)


def heading_sizes(sheets: Sequence[Sheet]) -> tuple[float, list[float]]:
    """The size of ordinary letters, and the sizes of headings from the largest down."""
    letters: Counter[float] = Counter()
    for sheet in sheets:
        for part in sheet.parts:
            if part.rows is None:
                letters[part.size] += len(part.text)
    if not letters:
        return 0.0, []
    body = letters.most_common(1)[0][0]
    larger = {
        part.size
        for sheet in sheets
        for part in sheet.parts
        if part.rows is None and part.size > body * 1.12 and _could_be_heading(part)
    }
    return body, sorted(larger, reverse=True)


def level_of(part: Part, body: float, sizes: Sequence[float]) -> int:
    """Which level of heading a part is; 0 if it is none."""
    if part.rows is not None or not _could_be_heading(part):
        return 0
    if part.size in sizes:
        return min(sizes.index(part.size) + 1, _MOST_LEVELS)
    if part.bold and part.lines == 1 and part.size >= body * 0.98 and not part.text.endswith((".", ",", ";")):
        return min(len(sizes) + 1, _MOST_LEVELS + 1)
    return 0


def _could_be_heading(part: Part) -> bool:
    return part.lines <= 3 and len(part.text) <= 160 and any(letter.isalpha() for letter in part.text)
