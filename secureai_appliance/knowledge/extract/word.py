"""DOCX, by python-docx: paragraphs and tables in the order of the document."""

from __future__ import annotations

import re
from pathlib import Path

import docx
from docx.oxml.ns import qn
from docx.table import Table
from docx.text.paragraph import Paragraph

from secureai_appliance.knowledge.extract.extracted import Draft

_HEADING = re.compile(r"heading (\d)|title|subtitle", re.IGNORECASE)
_CODE = re.compile(r"code|source|listing|preformatted|verbatim", re.IGNORECASE)
_NOTES = ("footnotes", "endnotes", "comments")


def read(path: Path, draft: Draft, password: str | None = None) -> None:
    """Headings by their styles, lists, tables, text boxes, and notes and comments at the end."""
    document = docx.Document(str(path))
    facts = document.core_properties
    draft.describe(
        title=facts.title, author=facts.author, subject=facts.subject, created=facts.created, modified=facts.modified
    )
    parts = list(document.iter_inner_content())
    items: list[str] = []
    for number, part in enumerate(parts):
        if isinstance(part, Paragraph) and _is_item(part):
            items.append("- " + part.text)
            continue
        if items:
            draft.paragraph("\n".join(items))
            items = []
        if isinstance(part, Paragraph):
            _paragraph(part, draft)
        else:
            _table(part, draft)
        if number % 100 == 0:
            draft.done(number / len(parts))
    draft.paragraph("\n".join(items))
    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(_NOTES):
            continue
        for note in re.findall(rb"<w:p[ >].*?</w:p>", relation.target_part.blob, re.DOTALL):
            draft.paragraph("".join(re.findall(r"<w:t(?: [^>]*)?>([^<]*)", note.decode("utf-8", "replace"))))


def _paragraph(paragraph: Paragraph, draft: Draft) -> None:
    style = (paragraph.style.name if paragraph.style else "") or ""
    heading = _HEADING.match(style)
    text = paragraph.text
    if heading:
        draft.heading(text, int(heading.group(1)) if heading.group(1) else 1)
    elif _CODE.search(style):
        draft.code(text)
    else:
        draft.paragraph(text)
    for box in paragraph._p.iter(qn("w:txbxContent")):
        if not any(above.tag == "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
                   for above in box.iterancestors()):  # fmt: skip
            draft.paragraph("\n".join(Paragraph(each, paragraph).text for each in box.iter(qn("w:p"))))


def _is_item(paragraph: Paragraph) -> bool:
    properties = paragraph._p.pPr
    style = (paragraph.style.name if paragraph.style else "") or ""
    if _HEADING.match(style) or not paragraph.text.strip():
        return False
    return style.startswith("List") or (properties is not None and properties.numPr is not None)


def _table(table: Table, draft: Draft) -> None:
    rows: list[list[str]] = []
    above: list[object] = []
    for row in table.rows:
        values: list[str] = []
        elements: list[object] = []
        for cell in row.cells:
            # a merged cell comes once for every place that it fills: its text stands in the first
            repeated = any(cell._tc is other for other in elements) or any(cell._tc is other for other in above)
            values.append("" if repeated else cell.text)
            elements.append(cell._tc)
        rows.append(values)
        above = list(elements)
    if max((len(row) for row in rows), default=0) == 1:
        for values in rows:
            draft.paragraph(values[0])
    else:
        draft.table(rows)
    # tables within cells come after it, since a row is one line
    for element in table._tbl.iterchildren(qn("w:tr")):
        for inner in element.iter(qn("w:tbl")):
            _table(Table(inner, table), draft)
