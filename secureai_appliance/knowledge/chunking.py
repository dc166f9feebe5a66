"""Cutting a text into chunks by its structure, each within the embedding model's bound of tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from secureai_appliance.knowledge.extract.extracted import Block, Extracted

Count = Callable[[str], int]

_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？｡])|\n")
_LONGEST_TOKEN = 64  # characters
_CONTEXT_SHARE = 3  # headings and column names take at most a third of a chunk


class Chunk(msgspec.Struct):
    """Characters `start` to `end` of the document's text, which are `text`.

    `headings` lead from the document's outermost to the chunk. `columns` are the Markdown lines that name the columns
    of a table that began in an earlier chunk, else empty. `tokens` counts `passage()`. `first_row` and `last_row` are
    numbers of rows in `sheet`.
    """

    text: str
    start: int
    end: int
    tokens: int
    page: int | None = None
    last_page: int | None = None
    headings: list[str] = []
    columns: str = ""
    sheet: str | None = None
    first_row: int | None = None
    last_row: int | None = None

    def passage(self) -> str:
        """What is embedded and indexed: the text behind the headings and column names that make it understood."""
        return _passage(self.headings, self.columns, self.text)


@dataclass(frozen=True)
class _Unit:
    """What is not cut further: a paragraph, a sentence, a row. `section` numbers what stands under one heading."""

    start: int
    end: int
    tokens: int
    block: Block
    section: int
    path: tuple[Block, ...]
    whole: bool  # a whole block
    opens: int  # where the headings directly before it begin, or `start`


def chunked(document: Extracted, size: int, overlap: int, count: Count) -> list[Chunk]:
    """The chunks of a document in its order.

    `size` bounds the tokens of each chunk's passage, `overlap` those that a chunk repeats of the one before, where a
    section is cut; `count` gives the tokens of a text without special ones. Small sections share a chunk.
    """
    return list(_Cutter(document, size, overlap, count).chunks())


def _passage(headings: list[str], columns: str, text: str) -> str:
    return "\n".join(part for part in (" > ".join(headings), columns, text) if part)


class _Cutter:
    def __init__(self, document: Extracted, size: int, overlap: int, count: Count) -> None:
        self._text = document.text
        self._blocks = document.blocks
        self._starts = [block.start for block in document.blocks]
        self._size = max(size, 16)
        self._context = self._size // _CONTEXT_SHARE
        self._overlap = min(overlap, self._size // 2)
        self._count = count

    def chunks(self) -> Iterator[Chunk]:
        group: list[_Unit] = []
        for unit in self._units():
            if group and not self._fits(group, unit):
                yield from self._emit(group)
                group = self._repeated(group, unit)
            group.append(unit)
        if group:
            yield from self._emit(group)

    # -- units

    def _units(self) -> Iterator[_Unit]:
        path: list[Block] = []
        section = 0
        opens: int | None = None
        for index, block in enumerate(self._blocks):
            if block.kind == "heading" and self._count(self._text[block.start : block.end]) <= self._context:
                path = [each for each in path if each.level < block.level]
                section += 1
                opens = block.start if opens is None else opens
                if self._stands_alone(index, path):
                    span = (block.start, block.end)
                    yield self._unit(span, block, section, tuple(path), whole=True, opens=opens)
                    opens = None
                path.append(block)
                continue
            for start, end, whole in self._pieces(block, self._room(tuple(path), block)):
                yield self._unit(
                    (start, end), block, section, tuple(path), whole=whole, opens=start if opens is None else opens
                )
                opens = None

    def _stands_alone(self, index: int, path: list[Block]) -> bool:
        """Whether a heading is its own text: nothing stands under it, or there is no room for it above what does."""
        lowest = self._blocks[index]
        chain = [*path, lowest]
        for block in self._blocks[index + 1 :]:
            if block.kind != "heading":
                return self._count(self._joined(tuple(chain))) > self._context
            if block.level <= lowest.level:
                break
            lowest = block
            chain.append(block)
        return len(chain) == len(path) + 1 or self._count(self._joined(tuple(chain))) > self._context

    def _joined(self, path: tuple[Block, ...]) -> str:
        return " > ".join(self._text[heading.start : heading.end] for heading in path)

    def _unit(
        self, span: tuple[int, int], block: Block, section: int, path: tuple[Block, ...], *, whole: bool, opens: int
    ) -> _Unit:
        start, end = span
        return _Unit(start, end, self._count(self._text[start:end]), block, section, path, whole, opens)

    def _room(self, path: tuple[Block, ...], block: Block) -> int:
        """Tokens that are left for text beside headings and column names."""
        taken = self._count(_passage(self._headings(path), self._columns(block), ""))
        return max(self._size - taken - 2, 8)

    def _pieces(self, block: Block, room: int) -> Iterator[tuple[int, int, bool]]:
        """The block, or its lines or sentences when it is more than `room`."""
        if self._count(self._text[block.start : block.end]) <= room:
            yield block.start, block.end, True
        elif block.kind in {"paragraph", "heading"}:
            for start, end in self._cut(block.start, block.end, _SENTENCE):
                yield from ((*span, False) for span in self._within(start, end, room))
        else:
            for start, end in self._cut(block.start, block.end, re.compile(r"\n")):
                yield from ((*span, False) for span in self._within(start, end, room))

    def _within(self, start: int, end: int, room: int) -> Iterator[tuple[int, int]]:
        """Halves of a span, at spaces where there are some, until each is within `room`."""
        # counting takes long where there is much, and much never fits
        if end - start < 2 or (end - start <= room * _LONGEST_TOKEN and self._count(self._text[start:end]) <= room):
            yield start, end
            return
        middle = (start + end) // 2
        space = self._text.rfind(" ", start + (end - start) // 4, middle)
        cut = middle if space < 0 else space
        yield from self._within(start, cut, room)
        begin = cut
        while begin < end and self._text[begin].isspace():
            begin += 1
        if begin < end:
            yield from self._within(begin, end, room)

    def _cut(self, start: int, end: int, border: re.Pattern[str]) -> Iterator[tuple[int, int]]:
        begin = start
        for match in border.finditer(self._text, start, end):
            if match.start() > begin:
                yield begin, match.start()
            begin = match.end()
        if begin < end:
            yield begin, end

    # -- groups

    def _fits(self, group: list[_Unit], unit: _Unit) -> bool:
        first = group[0]
        if unit.block.sheet != first.block.sheet:
            return False
        split_table = any(not each.whole and each.block.kind in {"table", "code"} for each in (*group, unit))
        if split_table and unit.block is not first.block:
            return False
        held = sum(each.tokens for each in group) + unit.tokens
        if unit.section != first.section:
            # sections are put together while the chunk is small, and only beside or under where it began
            if held > self._size // 2 or len(unit.path) < len(_common(first.path, unit.path)):
                return False
            held += self._count(self._text[group[-1].end : unit.start])
        path = first.path if unit.section == first.section else _common(first.path, unit.path)
        room = self._room(path, first.block) - len(group) // 8
        return held <= room

    def _repeated(self, group: list[_Unit], unit: _Unit) -> list[_Unit]:
        """The end of the group before, when its section goes on as text."""
        repeated: list[_Unit] = []
        tokens = 0
        for before in reversed(group):
            tokens += before.tokens
            if before.section != unit.section or before.block.kind != "paragraph" or unit.block.kind != "paragraph":
                break
            if tokens > self._overlap or tokens + unit.tokens > self._room(unit.path, unit.block):
                break
            repeated.insert(0, before)
        return repeated if len(repeated) < len(group) else []

    def _emit(self, group: list[_Unit]) -> Iterator[Chunk]:
        """One chunk of the group; halves of it in the rare case that the whole counts more than its parts."""
        chunk = self._chunk(group)
        if chunk.tokens > self._size and len(group) > 1:
            yield from self._emit(group[: len(group) // 2])
            yield from self._emit(group[len(group) // 2 :])
        else:
            yield chunk

    def _chunk(self, group: list[_Unit]) -> Chunk:
        first, last = group[0], group[-1]
        path = first.path
        start = first.start
        if first.section != last.section:
            for unit in group:
                path = _common(path, unit.path)
            # headings that are not common to all are part of the text
            hidden = [heading for heading in first.path[len(path) :] if first.opens <= heading.start]
            start = min([first.start, *(heading.start for heading in hidden)])
        text = self._text[start : last.end]
        headings = self._headings(path)
        columns = "" if first.start == first.block.start else self._columns(first.block)
        first_row, last_row = self._rows(group)
        return Chunk(
            text=text,
            start=start,
            end=last.end,
            tokens=self._count(_passage(headings, columns, text)),
            page=self._page(start),
            last_page=self._page(last.end - 1),
            headings=headings,
            columns=columns,
            sheet=first.block.sheet,
            first_row=first_row,
            last_row=last_row,
        )

    def _headings(self, path: tuple[Block, ...]) -> list[str]:
        """Texts of the headings, the innermost for sure and as many outer ones as there is room for."""
        texts = [self._text[heading.start : heading.end] for heading in path]
        while texts and self._count(" > ".join(texts)) > self._context:
            texts = texts[1:]
        return texts

    def _columns(self, block: Block) -> str:
        if not block.header_lines:
            return ""
        lines = self._text[block.start : block.end].split("\n", block.header_lines)[: block.header_lines]
        columns = "\n".join(lines)
        return columns if self._count(columns) <= self._context else ""

    def _page(self, position: int) -> int | None:
        return self._blocks[max(bisect_right(self._starts, position) - 1, 0)].page

    def _rows(self, group: list[_Unit]) -> tuple[int | None, int | None]:
        tables = [unit for unit in group if unit.block.row is not None]
        if not tables:
            return None, None
        return self._row(tables[0].block, tables[0].start), self._row(tables[-1].block, tables[-1].end - 1)

    def _row(self, block: Block, position: int) -> int:
        """The number in its sheet of the table's row at a position; the line under the column names has none."""
        assert block.row is not None
        line = self._text.count("\n", block.start, position)
        return block.row + (line - 1 if block.header_lines and line > 0 else line)


def _common(path: tuple[Block, ...], other: tuple[Block, ...]) -> tuple[Block, ...]:
    shared = 0
    for one, two in zip(path, other, strict=False):
        if one is not two:
            break
        shared += 1
    return path[:shared]
