"""Chunks follow the structure of a document, stay within their tokens, and are the text at their span."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path

import pytest

from secureai_appliance.knowledge.chunking import Chunk, chunked
from secureai_appliance.knowledge.extract.extracted import Draft, Extracted, Limits
from secureai_appliance.knowledge.extract.reading import extract
from tests.support import documents


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def draft() -> Draft:
    return Draft(Limits())


def cut(document: Extracted, size: int = 60, overlap: int = 0) -> list[Chunk]:
    chunks = chunked(document, size, overlap, count)
    for chunk in chunks:
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.tokens == count(chunk.passage()) <= size
    return chunks


def sentences(number: int, words: int = 8) -> str:
    return " ".join(f"Sentence {each} " + "has words " * (words // 2 - 1) + "indeed." for each in range(number))


def test_a_chunk_carries_the_headings_above_it() -> None:
    made = draft()
    made.heading("Manual", 1)
    made.heading("Pumps", 2)
    made.paragraph(sentences(5))
    made.heading("Valves", 2)
    made.paragraph(sentences(5))
    chunks = cut(made.finish("text/plain"))
    assert [chunk.headings for chunk in chunks] == [["Manual", "Pumps"], ["Manual", "Valves"]]
    assert chunks[0].passage().startswith("Manual > Pumps\nSentence 0")


def test_small_sections_share_a_chunk_with_their_headings_in_the_text() -> None:
    made = draft()
    made.heading("Glossary", 1)
    for name in ("Anvil", "Bellows", "Crucible"):
        made.heading(name, 2)
        made.paragraph(f"What {name.lower()} means.")
    (chunk,) = cut(made.finish("text/plain"))
    assert chunk.headings == ["Glossary"]
    assert chunk.text.startswith("Anvil\n\nWhat anvil means.\n\nBellows")


def test_a_heading_with_nothing_under_it_is_found() -> None:
    made = draft()
    made.heading("Only this", 1)
    assert [chunk.text for chunk in cut(made.finish("text/plain"))] == ["Only this"]


def test_a_long_paragraph_is_cut_between_sentences_with_overlap() -> None:
    made = draft()
    made.paragraph(sentences(40))
    chunks = cut(made.finish("text/plain"), size=60, overlap=15)
    assert len(chunks) > 5
    assert all(chunk.text.endswith("indeed.") for chunk in chunks)
    assert all(after.start < before.end for before, after in pairwise(chunks))


def test_a_word_without_end_is_cut_all_the_same() -> None:
    made = draft()
    made.paragraph("漢" * 500)
    chunks = chunked(document := made.finish("text/plain"), 50, 0, len)
    assert "".join(chunk.text for chunk in chunks) == document.text
    assert all(chunk.tokens <= 50 for chunk in chunks)


def test_rows_of_a_cut_table_come_with_the_names_of_their_columns(tmp_path: Path) -> None:
    path = documents.sheet(tmp_path)
    chunks = [chunk for chunk in cut(extract(path, path.name), size=80) if "Item" in chunk.text]
    assert len(chunks) > 3
    assert chunks[0].columns == ""
    assert all(chunk.columns == "| Item | Price |\n| --- | --- |" for chunk in chunks[1:])
    assert all(chunk.headings == ["Prices"] for chunk in chunks)
    assert chunks[0].first_row == 1
    assert chunks[-1].last_row == 61
    for before, after in pairwise(chunks):
        assert before.last_row is not None
        assert after.first_row == before.last_row + 1
        assert f"| Item {before.last_row - 1} |" in before.text


def test_chunks_know_their_pages(tmp_path: Path) -> None:
    path = documents.pdf(tmp_path)
    document = extract(path, path.name)
    chunks = cut(document, size=100)
    assert [chunk.last_page for chunk in chunks if "Hydrazine" in chunk.text] == [3]
    assert {chunk.page for chunk in chunks if "walrus" in chunk.text} == {1}
    for chunk in chunks:
        assert chunk.page is not None
        assert chunk.last_page is not None
        assert chunk.page <= chunk.last_page


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_nothing_is_too_long(seed: int) -> None:
    chance = random.Random(seed)
    made = draft()
    for number in range(chance.randint(1, 40)):
        match chance.randint(0, 4):
            case 0:
                made.heading(f"Heading {number} " + "long " * chance.randint(0, 40), chance.randint(1, 4))
            case 1:
                made.table([[f"c{number}x{each}" for each in range(4)] for _ in range(chance.randint(1, 30))])
            case 2:
                made.code("\n".join(f"line_{number}_{each}" for each in range(chance.randint(1, 50))))
            case _:
                made.paragraph(sentences(chance.randint(1, 30), chance.randint(4, 80)))
    document = made.finish("text/plain")
    chunks = cut(document, size=chance.choice([20, 60, 250]), overlap=chance.choice([0, 10, 40]))
    assert set(document.text.split()) <= set(" ".join(chunk.passage() for chunk in chunks).split())
    assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)
