"""A small corpus of one file for each format, made with the libraries that others make such files with."""

from __future__ import annotations

import csv
import email.message
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import openpyxl
import pptx
import pymupdf
from ebooklib import epub
from odf.opendocument import OpenDocumentText
from odf.table import Table, TableCell, TableRow
from odf.text import H, P

PROSE = "The quick brown fox jumps over the lazy dog while the pump is being serviced by the night shift. "
ROWS = [["Part", "Pressure", "Supplier"], ["BP1087", "12 bar", "Nordwerk"], ["F-150", "7 bar", "Südwerk"]]


def pdf(folder: Path, name: str = "manual.pdf") -> Path:
    """Two columns under a title on page 1, a ruled table on page 2, the same footer on all three pages."""
    document = pymupdf.open()
    page = document.new_page()
    page.insert_text((72, 80), "Maintenance of pumps", fontsize=20)
    left = PROSE + "The left column ends with a walrus."
    right = PROSE + "The right column begins after the walrus."
    page.insert_textbox((72, 120, 290, 500), left * 2, fontsize=10)
    page.insert_textbox((310, 120, 530, 500), right * 2, fontsize=10)
    page = document.new_page()
    page.insert_text((72, 80), "Pressures", fontsize=16)
    page.insert_text((72, 110), "The table names the pressures of all parts that are in stock today.", fontsize=10)
    _ruled(page, 72, 140, ROWS)
    document.new_page().insert_text((72, 80), "Hydrazine must never be stored beside the boiler.", fontsize=10)
    for number, each in enumerate(document, 1):
        each.insert_text((72, 820), f"Confidential, page {number}", fontsize=8)
    document.set_metadata({"title": "Pump manual", "author": "Night shift"})
    document.save(folder / name)
    return folder / name


def encrypted_pdf(folder: Path, user: str) -> Path:
    """One sentence; opens with the password `user`."""
    document = pymupdf.open()
    document.new_page().insert_text((72, 80), "The vault opens at seven on weekdays.")
    path = folder / ("locked.pdf" if user else "unlocked.pdf")
    document.save(path, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=user, owner_pw="owner")
    return path


def picture_pdf(folder: Path) -> Path:
    """A page with a drawing and no letters."""
    document = pymupdf.open()
    document.new_page().draw_circle((200, 200), 50)
    document.save(folder / "picture.pdf")
    return folder / "picture.pdf"


def word(folder: Path) -> Path:
    document = docx.Document()
    document.core_properties.title = "Report"
    document.add_heading("Yearly report", 1)
    document.add_paragraph("The granary held forty tonnes of barley.")
    document.add_heading("Stock", 2)
    document.add_paragraph("Spare belts", style="List Bullet")
    document.add_paragraph("Spare valves", style="List Bullet")
    table = document.add_table(rows=3, cols=3)
    for row, values in zip(table.rows, ROWS, strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    document.save(str(folder / "report.docx"))
    return folder / "report.docx"


def sheet(folder: Path) -> Path:
    book = openpyxl.Workbook()
    first = book.active
    assert first is not None
    first.title = "Prices"
    for values in [["Item", "Price"], *[[f"Item {number}", number * 1.5] for number in range(1, 61)]]:
        first.append(values)
    first["D70"], first["E70"], first["D71"], first["E71"] = "Depot", "Keeper", "Harbour depot", "Ottilie"
    book.create_sheet("Notes")["A1"] = "Prices hold until the equinox."
    book.save(folder / "prices.xlsx")
    return folder / "prices.xlsx"


def slides(folder: Path) -> Path:
    deck = pptx.Presentation()
    for number in (1, 2):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Quarter {number}"
        slide.placeholders[1].text = f"Revenue grew in quarter {number}."
        slide.notes_slide.notes_text_frame.text = f"Mention the lighthouse {number}."
    deck.save(str(folder / "quarters.pptx"))
    return folder / "quarters.pptx"


def open_document(folder: Path) -> Path:
    document = OpenDocumentText()
    document.text.addElement(H(outlinelevel=1, text="Harvest"))
    document.text.addElement(P(text="Juniper berries ripen in the second year."))
    table = Table()
    for values in ROWS:
        row = TableRow()
        for value in values:
            cell = TableCell()
            cell.addElement(P(text=value))
            row.addElement(cell)
        table.addElement(row)
    document.text.addElement(table)
    document.save(str(folder / "harvest.odt"))
    return folder / "harvest.odt"


def book(folder: Path) -> Path:
    made = epub.EpubBook()
    made.set_identifier("id")
    made.set_title("The lighthouse")
    made.set_language("en")
    chapters = []
    for number, text in enumerate(("The keeper lit the lamp at dusk.", "In the morning the fog had gone."), 1):
        chapter = epub.EpubHtml(title=f"Chapter {number}", file_name=f"c{number}.xhtml")
        chapter.content = f"<html><body><h1>Chapter {number}</h1><p>{text}</p></body></html>"
        made.add_item(chapter)
        chapters.append(chapter)
    made.toc = chapters
    made.spine = ["nav", *chapters]
    made.add_item(epub.EpubNcx())
    made.add_item(epub.EpubNav())
    epub.write_epub(str(folder / "lighthouse.epub"), made)
    return folder / "lighthouse.epub"


PAGE = """<!doctype html><html><head><title>Otters</title><script>var hidden = 1</script></head><body>
<nav><a href=/>Home</a> <a href=/x>Imprint</a></nav><div class="sidebar"><a href=1>Related beavers</a></div>
<main><h1>Otters</h1><p>Otters hold <b>hands</b> while sleeping.</p><ul><li>River otter</li><li>Sea otter</li></ul>
<table><tr><th>Kind</th><th>Weight</th></tr><tr><td>River</td><td>9 kg</td></tr>
<tr><td>Sea</td><td>30 kg</td></tr></table>
<pre>dive(depth=3)
    surface()</pre></main><footer>Cookie settings</footer></body></html>"""


def page(folder: Path) -> Path:
    (folder / "otters.html").write_text(PAGE)
    return folder / "otters.html"


MARKDOWN = """---
title: Handbook
---
# Handbook

Keep the *valve* [closed](https://example.org) at night.

## Alarm

- Call the warden
- Leave the hall

| Bell | Meaning |
| --- | --- |
| one | fire |

```sh
ring --twice
```
"""


def markdown(folder: Path) -> Path:
    (folder / "handbook.md").write_text(MARKDOWN)
    return folder / "handbook.md"


def text(folder: Path, encoding: str = "utf-8") -> Path:
    path = folder / f"letter-{encoding}.txt"
    words = "Sehr geehrte Frau Größe,\n\ndie Schlüssel für das Häuschen liegen über der Tür. Grüße aus Österreich.\n"
    path.write_bytes((words * 3).encode(encoding))
    return path


def rows(folder: Path) -> Path:
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows([*ROWS, ["X-9", "3 bar", "a; b"]])
    (folder / "parts.csv").write_text(out.getvalue())
    return folder / "parts.csv"


def values(folder: Path) -> Path:
    value = {"plant": {"name": "Marl", "tanks": [{"id": 1, "holds": "ammonia"}, {"id": 2, "holds": "glycerine"}]}}
    (folder / "plant.json").write_text(json.dumps(value))
    return folder / "plant.json"


def mail(folder: Path) -> Path:
    message = email.message.EmailMessage()
    message["Subject"], message["From"], message["To"] = "Delivery of gaskets", "ada@example.org", "bob@example.org"
    message["Date"] = "Mon, 02 Mar 2026 10:00:00 +0000"
    message.set_content("The gaskets arrive on Thursday by barge.\n\nRegards, Ada\n")
    message.add_alternative("<p>The gaskets arrive on Thursday by barge.</p>", subtype="html")
    message.add_attachment("Seven crates of gaskets.", filename="crates.txt")
    message.add_attachment(b"%PDF-1.4 none", maintype="application", subtype="pdf", filename="note.pdf")
    (folder / "delivery.eml").write_bytes(bytes(message))
    return folder / "delivery.eml"


def bomb(folder: Path) -> Path:
    """A DOCX of a few hundred kilobytes that unpacks to 300 MB of XML."""
    path = folder / "bomb.docx"
    with zipfile.ZipFile(word(folder)) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            if entry.filename != "word/document.xml":
                target.writestr(entry, source.read(entry))
        with target.open("word/document.xml", "w", force_zip64=True) as out:
            out.write(b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>')
            for _ in range(300):
                out.write(b"<w:p><w:r><w:t>a</w:t></w:r></w:p>" * 31_000)
            out.write(b"</w:body></w:document>")
    return path


EVERY: tuple[Callable[[Path], Path], ...] = (
    pdf, word, sheet, slides, open_document, book, page, markdown, text, rows, values, mail,
)  # fmt: skip


def corpus(folder: Path) -> Path:
    """All of them, and those that can't be read, in one folder."""
    for make in EVERY:
        make(folder)
    encrypted_pdf(folder, "")
    encrypted_pdf(folder, "key")
    picture_pdf(folder)
    (folder / "empty.txt").write_bytes(b"")
    (folder / "noise.pdf").write_bytes(bytes(range(256)) * 64)
    (folder / "photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(4000))
    (folder / "torn.docx").write_bytes((folder / "report.docx").read_bytes()[:9000])
    (folder / "torn.json").write_text('{"a": [1, 2')
    (folder / "sheet-called.pdf").write_bytes((folder / "prices.xlsx").read_bytes())
    return folder


def _ruled(page: pymupdf.Page, left: float, top: float, cells: list[list[str]]) -> None:
    wide, high = 120, 20
    for number, row in enumerate(cells):
        for column, value in enumerate(row):
            x, y = left + column * wide, top + number * high
            page.draw_rect((x, y, x + wide, y + high))
            page.insert_text((x + 4, y + 14), value, fontsize=10)
