"""CSV and its relatives: one table."""

from __future__ import annotations

import csv
from pathlib import Path

from secureai_appliance.knowledge.extract import plain
from secureai_appliance.knowledge.extract.extracted import Draft

_SAMPLE = 64 * 1024


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """The separator is found out; the first row names the columns."""
    text = plain.decoded(path, draft).lstrip("\ufeff").replace("\0", "")
    separator = _separator(text[:_SAMPLE])
    csv.field_size_limit(1 << 24)
    rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=separator) if any(row)]
    draft.table(rows, row=1)


def _separator(sample: str) -> str:
    """The one that cuts most lines into the same number of fields, and into the most."""
    best, score = ",", 0.0
    for candidate in ",;\t|":
        widths = [len(row) for row in csv.reader(sample.splitlines()[:-1] or [sample], delimiter=candidate)]
        common = max(set(widths), key=widths.count, default=1)
        found = widths.count(common) / max(len(widths), 1) + common / 1000 if common > 1 else 0.0
        if found > score:
            best, score = candidate, found
    return best
