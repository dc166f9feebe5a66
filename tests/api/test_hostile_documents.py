"""Files that are out to do harm, through the whole product: each ends with a code, and others are answered (P34)."""

from __future__ import annotations

import email.message
import random
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from secureai_appliance.core.ids import random_text
from secureai_appliance.knowledge.documents import MOST_DEPTH
from tests.knowledge.extract.test_hostile import fuzzed
from tests.support import documents
from tests.support.knowledge import ready, settled, upload_file
from tests.support.running import Running

BASES = "/api/v1/knowledge"
CODES = {"encrypted", "damaged", "no_text", "too_large", "unsupported_type", "timeout", "resource_limit"}


@pytest.fixture
def base(api: Running) -> str:
    return f"{BASES}/{api.ask('POST', BASES, {'name': random_text(10)}).json['id']}"


def nested(depth: int, text: str) -> bytes:
    """An e-mail in an e-mail in an e-mail …"""
    inner: email.message.EmailMessage | None = None
    for level in range(depth, -1, -1):
        message = email.message.EmailMessage()
        message["Subject"], message["From"] = f"Level {level}", "ada@example.org"
        message["Date"] = "Mon, 02 Mar 2026 10:00:00 +0000"
        message.set_content(f"{text} at level {level}.")
        if inner is not None:
            message.add_attachment(inner)
        inner = message
    assert inner is not None
    return bytes(inner)


def declares_a_gigabyte() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "x")
    data = out.getvalue()
    entry = data.index(b"PK\x01\x02")
    return data[: entry + 24] + ((1 << 30) + 1).to_bytes(4, "little") + data[entry + 28 :]


def in_a_zip_in_a_zip() -> bytes:
    data = b"0" * 100_000
    for _ in range(10):
        out = BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("word/document.xml", data)
        data = out.getvalue()
    return data


HOSTILE: dict[str, tuple[Callable[[Path], bytes], set[str]]] = {
    "empty.pdf": (lambda _: b"", {"no_text"}),
    "a picture.docx": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(1000), {"unsupported_type"}),
    "a program.txt": (lambda _: b"\x7fELF" + bytes(range(256)) * 10, {"unsupported_type"}),
    "a gigabyte.docx": (lambda _: declares_a_gigabyte(), {"too_large"}),
    "zips in zips.docx": (lambda _: in_a_zip_in_a_zip(), {"damaged"}),
    "deep.json": (lambda _: b"[" * 200_000, {"resource_limit"}),
    "deep.html": (lambda _: b"<div>" * 200_000, {"no_text", "indexed"}),
    "torn.pdf": (lambda folder: documents.pdf(folder).read_bytes()[:3000], {"damaged", "no_text", "indexed"}),
    "fuzzed.docx": (
        lambda folder: fuzzed(documents.word(folder).read_bytes(), random.Random(3)),
        {"damaged", "indexed"},
    ),
    "a sheet.pdf": (lambda folder: documents.sheet(folder).read_bytes(), {"indexed"}),
}


def outcome(shown: Any) -> str:
    return "indexed" if shown["status"] == "indexed" else str(shown["error"]["code"])


def test_each_hostile_file_ends_with_a_code_and_the_others_are_answered(
    api: Running, base: str, tmp_path: Path
) -> None:
    paths = {}
    for name, (make, _) in HOSTILE.items():
        made = upload_file(api, f"{base}/documents", make(tmp_path) or b"\n", name, "")
        assert made.status == 201, made.body
        paths[name] = f"{base}/documents/{made.json['id']}"
    assert api.ask("GET", "/healthz", key=None).status == 200
    good = upload_file(api, f"{base}/documents", "Otters hold hands while sleeping.", "otters.txt").json["id"]
    assert settled(api, f"{base}/documents/{good}")["status"] == "indexed"
    for name, path in paths.items():
        shown = settled(api, path)
        assert outcome(shown) in HOSTILE[name][1], (name, shown["error"])
        if shown["error"]:
            assert "/" not in shown["error"]["message"].replace("application/", "")
    hits = api.ask("POST", f"{base}/search", {"query": "What do otters do?"}).json["data"]
    assert hits[0]["filename"] == "otters.txt"


def test_mail_in_mail_ends_at_a_depth(api: Running, base: str) -> None:
    made = upload_file(api, f"{base}/documents", nested(MOST_DEPTH + 4, "The barge is late"), "outer.eml")
    assert made.status == 201
    ready(api, base)
    listed = api.ask("GET", f"{base}/documents?page_size=100").json["data"]
    names = {document["filename"] for document in listed}
    assert names == {"outer.eml", *(f"Level {level}.eml" for level in range(1, MOST_DEPTH + 1))}
    assert {document["status"] for document in listed} == {"indexed"}


def test_a_mail_with_too_many_files_fails_and_their_names_are_names(api: Running, base: str) -> None:
    def with_files(names: list[str]) -> bytes:
        message = email.message.EmailMessage()
        message["Subject"], message["From"] = "Files", "ada@example.org"
        message.set_content("See the files.")
        for number, name in enumerate(names):
            message.add_attachment(f"file {number} is about keels", filename=name)
        return bytes(message)

    many = upload_file(api, f"{base}/documents", with_files([f"{n}.txt" for n in range(1001)]), "many.eml").json["id"]
    assert settled(api, f"{base}/documents/{many}")["error"]["code"] == "too_large"
    upload_file(api, f"{base}/documents", with_files(["../../etc/passwd", "a" * 400 + ".txt"]), "few.eml")
    ready(api, base)
    names = {document["filename"] for document in api.ask("GET", f"{base}/documents").json["data"]}
    assert names == {"many.eml", "few.eml", "passwd", "a" * 251 + ".txt"}


@pytest.mark.soak
def test_many_hostile_files_end_and_the_service_answers_meanwhile(api: Running, base: str, tmp_path: Path) -> None:
    originals = [make(tmp_path) for make in documents.EVERY]
    document = pymupdf.open()
    for number in range(10_000):
        document.new_page().insert_text((72, 80), f"This is page {number + 1} of many.")
    document.save(tmp_path / "long.pdf")
    files = [("long.pdf", (tmp_path / "long.pdf").read_bytes()), ("bomb.docx", documents.bomb(tmp_path).read_bytes())]
    for seed in range(300):
        original = originals[seed % len(originals)]
        files.append((original.name, fuzzed(original.read_bytes(), random.Random(seed))))
    waiting = []
    for name, data in files:
        made = upload_file(api, f"{base}/documents", data, name, "")
        assert made.status in {201, 409}, made.body
        if made.status == 201:
            waiting.append(made.json["id"])
        assert api.ask("GET", "/healthz", key=None).status == 200
    ended: dict[str, int] = {}
    for each in waiting:
        for _ in range(20):
            try:
                shown = settled(api, f"{base}/documents/{each}")
                break
            except AssertionError:
                assert api.ask("GET", "/healthz", key=None).status == 200
        ended[outcome(shown)] = ended.get(outcome(shown), 0) + 1
        assert outcome(shown) in CODES | {"indexed"}
    print(ended)
