"""What the formats have of structure comes out as headings, tables, lists, pages and attachments."""

from __future__ import annotations

from pathlib import Path

import pymupdf
import pytest

from secureai_appliance.knowledge.extract.extracted import Extracted, Unreadable
from secureai_appliance.knowledge.extract.reading import extract
from tests.support import documents

TABLE = (
    "| Part | Pressure | Supplier |\n| --- | --- | --- |\n| BP1087 | 12 bar | Nordwerk |\n| F-150 | 7 bar | Südwerk |"
)


def read(path: Path, password: str | None = None) -> Extracted:
    return extract(path, path.name, password=password)


def texts(found: Extracted, kind: str) -> list[str]:
    return [found.text[block.start : block.end] for block in found.blocks if block.kind == kind]


def test_a_pdf_has_pages_headings_tables_and_columns_in_order(tmp_path: Path) -> None:
    found = read(documents.pdf(tmp_path))
    assert found.page_count == 3
    assert texts(found, "heading") == ["Maintenance of pumps", "Pressures"]
    assert texts(found, "table") == [TABLE]
    assert [block.page for block in found.blocks if block.kind == "table"] == [2]
    assert found.text.index("left column ends") < found.text.index("right column begins")
    assert "Confidential" not in found.text
    assert found.metadata["title"] == "Pump manual"
    assert found.metadata["author"] == "Night shift"


def test_the_text_of_a_table_is_not_there_a_second_time(tmp_path: Path) -> None:
    assert read(documents.pdf(tmp_path)).text.count("Nordwerk") == 1


def test_an_encrypted_pdf_is_read_with_its_password(tmp_path: Path) -> None:
    path = documents.encrypted_pdf(tmp_path, "key")
    assert "vault" in read(path, "key").text
    for wrong in ("", "Key", None):
        with pytest.raises(Unreadable) as failure:
            read(path, wrong)
        assert failure.value.code == "encrypted"


def test_text_behind_a_scan_is_read(tmp_path: Path) -> None:
    import pymupdf

    document = pymupdf.open()
    page = document.new_page()
    page.draw_rect(page.rect, fill=(0.9, 0.9, 0.9))
    page.insert_text((72, 80), "What the camera saw in March.", render_mode=3)
    document.save(tmp_path / "scan.pdf")
    assert read(tmp_path / "scan.pdf").text == "What the camera saw in March."


def test_a_word_file_has_headings_lists_and_tables(tmp_path: Path) -> None:
    found = read(documents.word(tmp_path))
    levels = [(block.level, found.text[block.start : block.end]) for block in found.blocks if block.kind == "heading"]
    assert levels == [(1, "Yearly report"), (2, "Stock")]
    assert "- Spare belts\n- Spare valves" in texts(found, "paragraph")
    assert texts(found, "table") == [TABLE]


def test_tables_of_a_sheet_know_their_rows(tmp_path: Path) -> None:
    found = read(documents.sheet(tmp_path))
    tables = [block for block in found.blocks if block.kind == "table"]
    assert [(block.sheet, block.row) for block in tables] == [("Prices", 1), ("Prices", 70), ("Notes", 1)]
    assert texts(found, "heading") == ["Prices", "Notes"]
    assert "| Item 60 | 90 |" in found.text


def test_a_slide_is_a_page_with_its_notes(tmp_path: Path) -> None:
    found = read(documents.slides(tmp_path))
    second = [found.text[block.start : block.end] for block in found.blocks if block.page == 2]
    assert second == ["Quarter 2", "Revenue grew in quarter 2.", "Mention the lighthouse 2."]


def test_an_open_document_has_headings_and_tables(tmp_path: Path) -> None:
    found = read(documents.open_document(tmp_path))
    assert texts(found, "heading") == ["Harvest"]
    assert texts(found, "table") == [TABLE]


def test_a_book_is_read_in_the_order_of_its_chapters(tmp_path: Path) -> None:
    found = read(documents.book(tmp_path))
    assert found.text == (
        "Chapter 1\n\nThe keeper lit the lamp at dusk.\n\nChapter 2\n\nIn the morning the fog had gone."
    )
    assert found.metadata["title"] == "The lighthouse"


def test_a_page_is_read_without_its_navigation(tmp_path: Path) -> None:
    found = read(documents.page(tmp_path))
    for around in ("Imprint", "beavers", "Cookie", "hidden"):
        assert around not in found.text
    assert texts(found, "paragraph") == ["Otters hold hands while sleeping.", "- River otter\n- Sea otter"]
    assert texts(found, "table") == ["| Kind | Weight |\n| --- | --- |\n| River | 9 kg |\n| Sea | 30 kg |"]
    assert texts(found, "code") == ["dive(depth=3)\n    surface()"]


def test_a_page_that_is_all_navigation_is_read_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "links.html"
    path.write_text("<html><body><nav><a href=1>Heron archive</a> <a href=2>Egret archive</a></nav></body></html>")
    assert "Egret archive" in read(path).text


def test_cells_that_span_columns_keep_the_others_in_theirs(tmp_path: Path) -> None:
    path = tmp_path / "spans.html"
    path.write_text(
        "<table><tr><th>a</th><th>b</th><th>c</th></tr><tr><td rowspan=2>1</td><td colspan=2>2</td></tr>"
        "<tr><td>3</td><td>4</td></tr></table>"
    )
    assert read(path).text.splitlines()[2:] == ["| 1 | 2 |  |", "|  | 3 | 4 |"]


def test_markdown_loses_its_marks_and_keeps_its_structure(tmp_path: Path) -> None:
    found = read(documents.markdown(tmp_path))
    assert texts(found, "paragraph") == ["Keep the valve closed at night.", "- Call the warden\n- Leave the hall"]
    assert texts(found, "code") == ["ring --twice"]
    assert texts(found, "table") == ["| Bell | Meaning |\n| --- | --- |\n| one | fire |"]
    assert found.metadata["title"] == "Handbook"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_text_is_read_in_whatever_encoding(encoding: str, tmp_path: Path) -> None:
    assert "Schlüssel für das Häuschen" in read(documents.text(tmp_path, encoding)).text


def test_the_separator_of_rows_is_found_out(tmp_path: Path) -> None:
    assert "| X-9 | 3 bar | a; b |" in read(documents.rows(tmp_path)).text


def test_lists_of_objects_are_tables(tmp_path: Path) -> None:
    found = read(documents.values(tmp_path))
    assert texts(found, "heading") == ["plant", "tanks"]
    assert texts(found, "table") == ["| id | holds |\n| --- | --- |\n| 1 | ammonia |\n| 2 | glycerine |"]


def test_what_is_attached_to_mail_becomes_documents(tmp_path: Path) -> None:
    found = read(documents.mail(tmp_path))
    assert [(each.filename, each.content_type) for each in found.attachments] == [
        ("crates.txt", "text/plain"),
        ("note.pdf", "application/pdf"),
    ]
    assert found.attachments[0].data.strip() == b"Seven crates of gaskets."
    assert found.text.startswith("Delivery of gaskets\n\nFrom: ada@example.org")
    assert found.text.count("Thursday") == 1


def test_content_counts_before_the_name(tmp_path: Path) -> None:
    path = documents.word(tmp_path).rename(tmp_path / "report.txt")
    assert read(path).content_type.endswith("wordprocessingml.document")


def test_pages_that_hold_one_line_each_keep_it(tmp_path: Path) -> None:
    document = pymupdf.open()
    for number in range(30):
        document.new_page().insert_text((72, 80), f"This is page {number + 1} of many.")
    document.save(tmp_path / "short.pdf")
    assert "This is page 30 of many." in extract(tmp_path / "short.pdf", "short.pdf").text
