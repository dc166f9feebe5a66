"""XLSX, by openpyxl: the tables of each sheet, with the numbers of their rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

import openpyxl
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from secureai_appliance.knowledge.extract.extracted import Draft, Unreadable

_MOST_CELLS = 20_000_000


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """A heading for each sheet; tables end at empty rows. Values, not formulas."""
    # opened here: openpyxl goes by the name of a path
    with path.open("rb") as file:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        facts = book.properties
        draft.describe(
            title=facts.title,
            author=facts.creator,
            subject=facts.subject,
            created=facts.created,
            modified=facts.modified,
        )
        sheets = [sheet for sheet in book.worksheets if isinstance(sheet, ReadOnlyWorksheet)]
        for number, sheet in enumerate(sheets, 1):
            draft.heading(sheet.title, 1)
            # what a file says about its size is not true of every file
            sheet.reset_dimensions()
            _sheet(sheet.title, sheet.iter_rows(values_only=True), draft)
            draft.done(number / len(sheets))


def _sheet(title: str, rows: Iterable[tuple[object, ...]], draft: Draft) -> None:
    region: list[list[str]] = []
    begun = cells = 0
    for number, values in enumerate(rows, 1):
        cells += len(values)
        if cells > _MOST_CELLS:
            raise Unreadable("too_large", f"There are more than {_MOST_CELLS:,} cells in a sheet.")
        texts = [_shown(value) for value in values]
        if any(texts):
            begun = begun or number
            region.append(texts)
        elif region:
            _region(title, region, begun, draft)
            region, begun = [], 0
    if region:
        _region(title, region, begun, draft)


def _region(title: str, rows: list[list[str]], begun: int, draft: Draft) -> None:
    """A line of its own above a table is its title, not the names of its columns."""
    while len(rows) > 1 and sum(map(bool, rows[0])) == 1 and sum(map(bool, rows[1])) > 1:
        draft.paragraph(next(filter(None, rows[0])))
        rows, begun = rows[1:], begun + 1
    draft.table(rows, sheet=title, row=begun)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value).strip()
