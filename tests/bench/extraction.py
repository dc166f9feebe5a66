"""Reading PDFs: pages per second with and without tables, the quality of tables, and the speed of terms.

`--tables FOLDER` holds PDFs and `NAME-str.xml` of the ICDAR 2013 table competition; `--files FOLDER` is read file
by file,
`--texts FILE` is JSON lines with `text`.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from secureai_appliance.knowledge.extract import pdf
from secureai_appliance.knowledge.extract.extracted import Draft, Limits, Unreadable
from secureai_appliance.knowledge.extract.worker import run
from secureai_appliance.knowledge.terms import terms

Grid = dict[tuple[int, int], tuple[int, str]]  # (row, column) → (number of the cell, its letters and digits)


def plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


def expected(path: Path) -> Iterator[Grid]:
    for region in ET.parse(path).getroot().iter("region"):
        grid: Grid = {}
        for number, cell in enumerate(region.iter("cell")):
            top, left = int(cell.get("start-row", 0)), int(cell.get("start-col", 0))
            for row in range(top, int(cell.get("end-row", top)) + 1):
                for column in range(left, int(cell.get("end-col", left)) + 1):
                    grid[row, column] = number, plain(cell.findtext("content") or "")
        yield grid


def found(path: Path) -> Iterator[Grid]:
    draft = Draft(Limits())
    pdf.read(path, draft)
    text = draft.finish("").text
    for block in draft.blocks:
        if block.kind == "table":
            lines = text[block.start : block.end].splitlines()
            rows = [line.strip("|").split(" | ") for line in lines if not re.fullmatch(r"\|( --- \|)+", line)]
            places = [(row, column) for row, cells in enumerate(rows) for column in range(len(cells))]
            yield {place: (number, plain(rows[place[0]][place[1]])) for number, place in enumerate(places)}


def cells(grid: Grid) -> Counter[str]:
    return Counter(text for _, text in dict.fromkeys(grid.values()) if text)


def neighbours(grid: Grid) -> Counter[tuple[str, str, str]]:
    """Pairs of cells that follow each other in a row or column, empty ones left out."""
    pairs = set()
    for axis, name in ((0, "row"), (1, "column")):
        lines: dict[int, list[tuple[int, str]]] = {}
        for place in sorted(grid, key=lambda each: each[1 - axis]):
            if grid[place][1]:
                lines.setdefault(place[axis], []).append(grid[place])
        pairs |= {(a, b, name) for line in lines.values() for a, b in pairwise(line) if a != b}
    return Counter((a[1], b[1], name) for a, b, name in pairs)


def tables(folder: Path) -> None:
    for name, count in (("cells", cells), ("neighbours", neighbours)):
        there = got = both = 0
        for path in sorted(folder.glob("*.pdf")):
            truth, ours = Counter(), Counter()
            for grid in expected(path.with_name(f"{path.stem}-str.xml")):
                truth.update(count(grid))
            for grid in found(path):
                ours.update(count(grid))
            there, got, both = there + truth.total(), got + ours.total(), both + (truth & ours).total()
        print(f"{name}: recall {both / there:.3f}, precision {both / max(got, 1):.3f} of {there}")
    for layout in (True, False):
        begun, pages = time.perf_counter(), 0
        for path in sorted(folder.glob("*.pdf")):
            draft = Draft(Limits())
            pdf.read(path, draft, layout=layout)
            pages += draft.page_count or 0
        seconds = time.perf_counter() - begun
        print(f"{'with' if layout else 'without'} tables: {pages / seconds:.1f} pages/s ({pages} pages)")


def files(folder: Path) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        begun = time.perf_counter()
        try:
            read = run(path, path.name)
            outcome = f"{len(read.text)} characters, {len(read.blocks)} blocks, pages {read.page_count}"
        except Unreadable as failure:
            outcome = failure.code
        print(f"{path.name}: {time.perf_counter() - begun:.2f} s, {outcome}")


def texts(path: Path) -> None:
    chunks = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    for state in ("cold", "warm"):
        begun = time.process_time()
        for chunk in chunks:
            terms(chunk)
        rate = len(chunks) / (time.process_time() - begun)
        print(f"terms, {state}: {rate:.0f} chunks/s of {sum(map(len, chunks)) // len(chunks)} characters")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, measure in (("tables", tables), ("files", files), ("texts", texts)):
        parser.add_argument(f"--{name}", type=Path)
        parser.set_defaults(**{f"measure_{name}": measure})
    arguments = parser.parse_args()
    for name in ("tables", "files", "texts"):
        if getattr(arguments, name):
            getattr(arguments, f"measure_{name}")(getattr(arguments, name))


if __name__ == "__main__":
    main()
