"""Whole bases out of one appliance and into another, over real sockets."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from secureai_appliance.accounts.shelf import slug_of
from secureai_appliance.cli import cli
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.core.ids import random_text
from secureai_appliance.knowledge import bases, blobs, documents
from tests.support.knowledge import form, ready, settled, upload_file, upload_form
from tests.support.running import Response, Running, running
from tests.support.uploads import whole_upload

BASES = "/api/v1/knowledge"
IMPORT = f"{BASES}/import"
TEXTS = {
    "brakes.md": "# Brakes\n\n## Fluid\n\nBrake fluid is changed every two years.\n\n## Pads\n\nWorn below 3 mm.",
    "tyres.txt": "Winter tyres need at least 4 mm of profile. The pressure is checked every month. Part F-150 fits.",
    "Öl & Filter.txt": "The oil filter BP1087 is changed with the oil, every 15,000 km.",
}
QUERIES = ("How often is brake fluid changed?", "F-150", "oil filter", "profile of winter tyres")


def fill(api: Running, **fields: Any) -> str:
    base = f"{BASES}/{api.ask('POST', BASES, {'name': random_text(10), **fields}).json['id']}"
    for name, text in TEXTS.items():
        assert upload_file(api, f"{base}/documents", text, name).status == 201
    # one that can't be read, and one of several pieces
    upload_file(api, f"{base}/documents", b"\x89PNG\r\n\x1a\n" + bytes(2_500_000), "a.png")
    ready(api, base)
    return base


@pytest.fixture(scope="module")
def base(api: Running) -> str:
    return fill(api, description="For the workshop", chunking={"size": 64, "overlap": 8})


@pytest.fixture(scope="module")
def exported(api: Running, base: str) -> bytes:
    answer = api.ask("GET", f"{base}/export")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    return answer.body


def bring(api: Running, data: bytes, **fields: str) -> Response:
    return upload_form(api, IMPORT, form(("base.zip", data, "application/zip"), **fields))


def results(api: Running, base: str) -> list[Any]:
    """What is found, but for ids, which are made anew, and last digits, which depend on what is embedded together."""

    def shown(hit: dict[str, Any]) -> tuple[Any, ...]:
        return hit["filename"], hit["text"], hit["page"], pytest.approx(hit["score"], abs=0.02)

    found = []
    for query in QUERIES:
        for mode in ("hybrid", "vector", "keyword"):
            hits = api.ask("POST", f"{base}/search", {"query": query, "mode": mode}).json["data"]
            found.append([shown(hit) for hit in hits])
    return found


def rewritten(data: bytes, change: Callable[[dict[str, bytes]], None], method: int = zipfile.ZIP_STORED) -> bytes:
    """The export with other entries."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def originals(data: bytes) -> dict[str, int]:
    """Their checksums by path."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: info.CRC for info in archive.infolist() if info.filename.startswith("documents/")}


def leftovers(api: Running) -> tuple[int, int]:
    """Bases, and blobs that belong to no document."""
    with api.appliance.store.read() as db:
        lost = "SELECT COUNT(*) FROM blobs WHERE row_id NOT IN (SELECT blob_id FROM documents)"
        return db.value("SELECT COUNT(*) FROM knowledge_bases"), db.value(lost)


def test_an_export_has_the_originals_and_what_is_known_of_them(api: Running, base: str, exported: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        assert archive.testzip() is None
        described = json.loads(archive.read("base.json"))
        listed = [json.loads(line) for line in archive.read("documents.jsonl").splitlines()]
        assert {line["filename"]: archive.read(line["path"]).decode() for line in listed[:3]} == TEXTS
    shown = api.ask("GET", base).json
    for field in ("name", "slug", "description", "embedding_model", "chunking", "document_count"):
        assert described[field] == shown[field]
    known = {one["sha256"]: one for one in api.ask("GET", f"{base}/documents").json["data"]}
    for line in listed:
        assert line["size_bytes"] == known[line["sha256"]]["size_bytes"]
    assert [line["error_code"] for line in listed] == [None, None, None, "unsupported_type"]


def test_another_appliance_finds_the_same(api: Running, base: str, exported: bytes, tmp_path: Path) -> None:
    with running(tmp_path / "other", context_length=512) as other:
        made = bring(other, exported)
        assert made.status == 201, made.body
        there = f"{BASES}/{made.json['id']}"
        assert ready(other, there)["document_count"] == 4
        for field in ("name", "slug", "description", "embedding_model", "chunking", "size_bytes", "chunk_count"):
            assert other.ask("GET", there).json[field] == api.ask("GET", base).json[field]
        assert results(other, there) == results(api, base)
        again = bring(other, exported)
        assert (again.status, again.json["error"]["details"]["field"]) == (409, "name")
        # what comes out there is what went in
        assert originals(other.ask("GET", f"{there}/export").body) == originals(exported)


def test_an_upload_is_imported_under_another_name_and_gone(api: Running, exported: bytes) -> None:
    key = api.make_user(f"{random_text(8)}@archives.example")
    upload = whole_upload(api, exported, "base.zip", key=key)
    name = random_text(8)
    made = api.ask("POST", IMPORT, {"upload_id": upload, "name": name}, key=key)
    assert made.status == 201, made.body
    assert (made.json["name"], made.json["slug"], made.json["visibility"]) == (name, slug_of(name, "base"), "private")
    assert made.json["document_count"] == 4
    assert api.ask("GET", f"/api/v1/uploads/{upload}", key=key).status == 404
    assert api.ask("GET", f"{BASES}/{made.json['id']}").status == 404
    assert api.ask("GET", f"{BASES}/{made.json['id']}/export").status == 404
    assert api.ask("DELETE", f"{BASES}/{made.json['id']}", key=key).status == 204


def _path_outside(entries: dict[str, bytes]) -> None:
    line = json.loads(entries["documents.jsonl"].splitlines()[0])
    entries["../../escaped.txt"] = entries.pop(line["path"])
    entries["documents.jsonl"] = entries["documents.jsonl"].replace(line["path"].encode(), b"../../escaped.txt")


def _other_bytes(entries: dict[str, bytes]) -> None:
    name = min(name for name in entries if name.startswith("documents/"))
    entries[name] = entries[name][::-1]


def _one_twice(entries: dict[str, bytes]) -> None:
    first = entries["documents.jsonl"].splitlines(keepends=True)[0]
    entries["documents.jsonl"] += first
    entries["base.json"] = entries["base.json"].replace(b'"document_count": 4', b'"document_count": 5')


def _too_many(entries: dict[str, bytes]) -> None:
    entries["documents.jsonl"] = b"{}\n" * 50_001


def _encrypted(data: bytes) -> bytes:
    """The export with the first entry of its directory marked as encrypted."""
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no zip": (lambda data: b"nothing of the kind", "no zip file"),
    "empty": (lambda data: b"", "no zip file"),
    "cut off": (lambda data: data[:-100], ""),
    "beginning lost": (lambda data: data[1000:], ""),
    "no base": (lambda data: rewritten(data, lambda entries: entries.pop("base.json") and None), "is missing"),
    "no list": (lambda data: rewritten(data, lambda entries: entries.pop("documents.jsonl") and None), "is missing"),
    "other format": (lambda data: data.replace(b"secureai-knowledge-1", b"secureai-knowledge-9"), ""),
    "compressed": (lambda data: rewritten(data, lambda entries: None, zipfile.ZIP_DEFLATED), "compressed"),
    "other bytes": (lambda data: rewritten(data, _other_bytes), "is damaged"),
    "encrypted": (_encrypted, "encrypted"),
    "too many": (lambda data: rewritten(data, _too_many), "more than 50000"),
    "one twice": (lambda data: rewritten(data, _one_twice), "missing"),
    "one missing": (
        lambda data: rewritten(data, lambda entries: entries.pop(min(n for n in entries if n[:4] == "docu")) and None),
        "missing",
    ),
}


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_is_no_whole_export_is_422_and_leaves_nothing(api: Running, exported: bytes, bad: str) -> None:
    change, says = BAD[bad]
    before = leftovers(api)
    answer = bring(api, change(exported), name=random_text(8))
    assert answer.status == 422, answer.body
    assert says in answer.json["error"]["message"]
    assert leftovers(api) == before


def test_a_path_that_leads_out_is_a_name_and_nothing_more(api: Running, exported: bytes) -> None:
    made = bring(api, rewritten(exported, _path_outside), name=random_text(8))
    assert made.status == 201
    root = api.appliance.settings.data_folder.root
    assert not list(root.rglob("escaped*"))
    assert not (root.parent / "escaped.txt").exists()
    assert api.ask("DELETE", f"{BASES}/{made.json['id']}").status == 204


def test_names_and_types_in_it_are_cleared_like_those_of_a_form(api: Running, exported: bytes) -> None:
    def odd(entries: dict[str, bytes]) -> None:
        lines = entries["documents.jsonl"].splitlines()
        first = {**json.loads(lines[0]), "filename": "../up\r\nX: y.md", "content_type": "Text/Markdown; a=\r\n"}
        entries["documents.jsonl"] = b"\n".join([json.dumps(first).encode(), *lines[1:]])

    made = bring(api, rewritten(exported, odd), name=random_text(8))
    assert made.status == 201, made.body
    there = f"{BASES}/{made.json['id']}"
    assert "upX: y.md" in [each["filename"] for each in api.ask("GET", f"{there}/documents").json["data"]]
    assert api.ask("DELETE", there).status == 204


def test_a_directory_that_would_fill_the_memory_is_not_read(api: Running) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"")
    data = bytearray(out.getvalue())
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = (200 << 20).to_bytes(4, "little")
    answer = bring(api, bytes(data), name=random_text(8))
    assert (answer.status, "too many entries" in answer.json["error"]["message"]) == (422, True)


def test_entries_that_share_their_bytes_do_not_grow(api: Running, exported: bytes) -> None:
    """A hundred names for one original: the file says that it holds more than it has."""

    def shared(entries: dict[str, bytes]) -> None:
        lines = entries["documents.jsonl"].splitlines()
        line = json.loads(lines[-1])
        for number in range(100):
            more = {**line, "path": f"documents/x{number}", "sha256": f"{number:064x}"}
            lines.append(json.dumps(more).encode())
            entries[more["path"]] = b""
        entries["documents.jsonl"] = b"\n".join(lines)
        entries["base.json"] = entries["base.json"].replace(b'"document_count": 4', b'"document_count": 104')

    data = bytearray(rewritten(exported, shared))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        large = max(archive.infolist(), key=lambda info: info.file_size)
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        if data[at + 46 : at + 57] == b"documents/x":
            data[at + 20 : at + 28] = large.file_size.to_bytes(4, "little") * 2
            data[at + 42 : at + 46] = large.header_offset.to_bytes(4, "little")
        at += 46
    answer = bring(api, bytes(data), name=random_text(8))
    assert (answer.status, "more than it has" in answer.json["error"]["message"]) == (422, True)


@pytest.mark.parametrize(("module", "name"), [(documents, "put_back"), (bases, "create"), (blobs, "flush")])
def test_an_import_that_breaks_leaves_nothing(
    api: Running, exported: bytes, module: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailable("Not now.", retry_after=1)

    before = leftovers(api)
    with monkeypatch.context() as broken:
        broken.setattr(module, name, fail)
        assert bring(api, exported, name=random_text(8)).status == 503
    assert leftovers(api) == before


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"name": ""}, 400, "name"),
        ({"surprise": "1"}, 400, "surprise"),
        ({"embedding_model": "none-such", "name": "a base with no model"}, 404, None),
        ({"embedding_model": "gpt-4", "name": "a base with a chat model"}, 422, None),
    ],
)
def test_what_the_new_base_is_to_be_is_checked_first(
    api: Running, exported: bytes, fields: dict[str, str], status: int, field: str | None
) -> None:
    before = leftovers(api)
    answer = bring(api, exported, **fields)
    assert (answer.status, answer.json["error"]["details"].get("field") if field else None) == (status, field)
    assert leftovers(api) == before


def test_a_form_without_its_file_is_refused(api: Running) -> None:
    assert upload_form(api, IMPORT, form(name="x")).status == 400
    two = form(("a.zip", b"a", "application/zip"), ("b.zip", b"b", "application/zip"))
    assert upload_form(api, IMPORT, two).status == 400


def test_what_is_deleted_meanwhile_is_left_out_or_cuts_the_file_off(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = fill(api)
    listed = api.ask("GET", f"{base}/documents?sort=created_at").json["data"]
    real = blobs.pieces

    def deleted_before_its_turn(store: Any, blob_id: int) -> Iterator[bytes]:
        with api.appliance.store.read() as db:
            there = db.value("SELECT COUNT(*) FROM documents WHERE id = ?", listed[1]["id"])
        if there:
            assert api.ask("DELETE", f"/api/v1/documents/{listed[1]['id']}").status == 204
        return real(store, blob_id)

    with monkeypatch.context() as patched:
        patched.setattr(blobs, "pieces", deleted_before_its_turn)
        data = api.ask("GET", f"{base}/export").body
    made = bring(api, data, name=random_text(8))
    assert (made.status, made.json["document_count"]) == (201, 3)
    assert api.ask("DELETE", f"{BASES}/{made.json['id']}").status == 204

    with monkeypatch.context() as patched:
        patched.setattr(blobs, "pieces", lambda store, blob_id: iter([b"half"]))
        with pytest.raises(Exception, match=r"IncompleteRead|closed|0 bytes"):
            zipfile.ZipFile(io.BytesIO(api.ask("GET", f"{base}/export").body))


def test_commands_export_and_import(api: Running, base: str, tmp_path: Path) -> None:
    target = tmp_path / "out.zip"
    common = ["--url", api.appliance.address, "--key", api.key]
    uploads = api.ask("GET", "/api/v1/uploads").json["total"]
    done = CliRunner().invoke(cli, ["knowledge", "export", base.rpartition("/")[2], str(target), *common])
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["out.zip"]
    name = random_text(8)
    done = CliRunner().invoke(cli, ["knowledge", "import", str(target), "--name", name, *common])
    assert done.exit_code == 0, done.output
    made = api.ask("GET", f"{BASES}/{done.stdout.strip()}").json
    assert (made["name"], made["document_count"]) == (name, 4)
    again = CliRunner().invoke(cli, ["knowledge", "export", base.rpartition("/")[2], str(target), *common])
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)
    assert settled(api, f"{BASES}/{made['id']}/documents/{first(api, made['id'])}")["status"]
    assert api.ask("DELETE", f"{BASES}/{made['id']}").status == 204
    assert api.ask("GET", "/api/v1/uploads").json["total"] == uploads


def first(api: Running, base_id: str) -> str:
    return str(api.ask("GET", f"{BASES}/{base_id}/documents").json["data"][0]["id"])
