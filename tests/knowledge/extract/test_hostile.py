"""Whatever bytes come, the outcome is text or a code, within bounds."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pymupdf
import pytest

from secureai_appliance.knowledge.extract.extracted import Limits, Unreadable
from secureai_appliance.knowledge.extract.worker import run
from tests.support import documents

SMALL = Limits(seconds=20, cpu_seconds=20, memory=1 << 30, characters=2_000_000, pages=1000, unpacked=50 << 20)


def outcome(path: Path, filename: str | None = None) -> str:
    """`text`, or the code."""
    try:
        run(path, filename or path.name, limits=SMALL)
    except Unreadable as failure:
        return failure.code
    return "text"


def fuzzed(data: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, a piece taken out or doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 40)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    at, length = chance.randrange(len(changed)), chance.randrange(1, 500)
    match chance.randrange(4):
        case 0:
            del changed[at : at + length]
        case 1:
            changed[at:at] = changed[at : at + length] * 3
        case 2:
            del changed[at:]
    return bytes(changed) or b"x"


def fuzz(folder: Path, seeds: range) -> None:
    originals = [make(folder) for make in documents.EVERY]
    for seed in seeds:
        chance = random.Random(seed)
        original = originals[seed % len(originals)]
        path = folder / "fuzzed"
        path.write_bytes(fuzzed(original.read_bytes(), chance))
        assert outcome(path, original.name) in {
            "text",
            "damaged",
            "encrypted",
            "no_text",
            "unsupported_type",
            "too_large",
        }


def test_changed_bytes_end_with_text_or_a_code(tmp_path: Path) -> None:
    fuzz(tmp_path, range(12))


@pytest.mark.soak
def test_many_changed_bytes_end_with_text_or_a_code(tmp_path: Path) -> None:
    fuzz(tmp_path, range(12, 1200))


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.json", "a.html", "a.eml", "a"])
def test_an_empty_file_has_no_text(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert outcome(tmp_path / name) == "no_text"


def test_a_file_that_says_it_holds_a_gigabyte_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "big.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    path.write_bytes(data[: entry + 24] + (1 << 30).to_bytes(4, "little") + data[entry + 28 :])
    assert outcome(path) == "too_large"


def test_a_file_of_more_pages_than_allowed_is_refused(tmp_path: Path) -> None:
    document = pymupdf.open()
    for _ in range(1001):
        document.new_page()
    document.save(tmp_path / "long.pdf")
    assert outcome(tmp_path / "long.pdf") == "too_large"


@pytest.mark.soak
def test_ten_thousand_pages_are_read(tmp_path: Path) -> None:
    document = pymupdf.open()
    for number in range(10_000):
        document.new_page().insert_text((72, 80), f"This is page {number + 1} of many.")
    document.save(tmp_path / "long.pdf")
    assert "page 10000 of many" in run(tmp_path / "long.pdf", "long.pdf").text


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("deep.json", b"[" * 200_000, "resource_limit"),
        ("deep.html", b"<p>Before it.</p>" + b"<div>" * 200_000, "text"),
        ("long.csv", b"," * 1_000_000, "no_text"),
        ("long.txt", b"x" * 3_000_000, "too_large"),
        ("quotes.md", b">" * 100_000, "no_text"),
        ("spans.html", b"<table><tr><td colspan=999999999 rowspan=999999999>a<td>b</table>", "text"),
        ("header.pdf", b"%PDF-1.7\n" + b"1 0 obj\n" * 1000, "damaged"),
        (
            "laughs.xhtml",
            b'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><html>&b;</html>',
            "text",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_tricks_of_single_formats_end_within_bounds(name: str, data: bytes, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert outcome(tmp_path / name) == code
