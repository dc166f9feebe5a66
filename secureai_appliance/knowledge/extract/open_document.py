"""ODT, by odfpy: headings, paragraphs, lists and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from odf import opendocument, teletype
from odf.namespaces import DCNS, METANS, TABLENS, TEXTNS
from odf.table import TableRow

from secureai_appliance.knowledge.extract.extracted import Draft

_MOST_REPEATED = 100


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """The text of the document in its order."""
    document = opendocument.load(str(path))
    facts = {node.qname: teletype.extractText(node) for node in document.meta.childNodes if hasattr(node, "qname")}
    draft.describe(
        title=facts.get((DCNS, "title")),
        author=facts.get((METANS, "initial-creator")) or facts.get((DCNS, "creator")),
        created=facts.get((METANS, "creation-date")),
        modified=facts.get((DCNS, "date")),
    )
    _into(document.text, draft)


def _into(node: Any, draft: Draft) -> None:
    for child in node.childNodes:
        name = getattr(child, "qname", None)
        if name == (TEXTNS, "h"):
            draft.heading(teletype.extractText(child), int(child.getAttribute("outlinelevel") or 1))
        elif name == (TEXTNS, "p"):
            draft.paragraph(teletype.extractText(child))
        elif name == (TEXTNS, "list"):
            draft.paragraph("\n".join(_items(child)))
        elif name == (TABLENS, "table"):
            _table(child, draft)
        elif name != (TEXTNS, "tracked-changes") and getattr(child, "childNodes", None):
            _into(child, draft)


def _items(node: Any) -> list[str]:
    items = []
    for item in node.childNodes:
        for child in getattr(item, "childNodes", []):
            if getattr(child, "qname", None) == (TEXTNS, "list"):
                items += _items(child)
            else:
                items.append("- " + teletype.extractText(child))
    return items


def _table(node: Any, draft: Draft) -> None:
    rows = []
    for row in node.getElementsByType(TableRow):
        cells: list[str] = []
        for cell in row.childNodes:
            if getattr(cell, "qname", (None, None))[0] != TABLENS:
                continue
            text = "\n".join(teletype.extractText(child) for child in cell.childNodes)
            repeated = int(cell.getAttribute("numbercolumnsrepeated") or 1)
            cells += [text] * min(repeated, _MOST_REPEATED)
        rows.append(cells)
    if max((len(row) for row in rows), default=0) == 1:
        for cells in rows:
            draft.paragraph(cells[0])
    else:
        draft.table(rows)
