"""The upload pipeline as the API's guide has it, by curl, and what receivers are told meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from secureai_appliance.core.ids import new_id, random_text
from secureai_appliance.knowledge import bases, documents
from secureai_appliance.upkeep import DELIVERIES
from tests.support.knowledge import settled, upload_file
from tests.support.running import Running
from tests.support.webhooks import Receiver, receiver

BASES = "/api/v1/knowledge"

# nothing of it is changed but scheme, host and key
PIPELINE = """
# 1. Upload a document
curl -X POST https://your-secureai-instance.com/api/v1/knowledge/kb-abc123/documents \\
-H "Authorization: Bearer sk-your-api-key-here" \\
-F "file=@brake-catalog-2026.pdf"
# 2. Check indexing status
curl -X GET https://your-secureai-instance.com/api/v1/knowledge/kb-abc123/documents/doc-xyz789 \\
-H "Authorization: Bearer sk-your-api-key-here"
"""


@pytest.fixture
def told(api: Running) -> Iterator[Receiver]:
    """A receiver of all that is told of documents."""
    with receiver() as started:
        events = ["document.uploaded", "document.indexed", "document.failed"]
        made = api.ask("POST", "/api/v1/webhooks", {"url": started.url, "events": events}).json["id"]
        yield started
        api.ask("DELETE", f"/api/v1/webhooks/{made}")


def next_event(api: Running, told: Receiver, base_id: str) -> dict[str, Any]:
    """The next about this base: documents of other tests may still be at work."""
    while True:
        api.appliance._scheduler.wake(DELIVERIES)
        body: dict[str, Any] = json.loads(told.next().body)
        assert set(body) == {"id", "event", "timestamp", "data"}
        if body["data"]["knowledge_base_id"] == base_id:
            return body


def catalogue(path: Path, pages: int = 3) -> None:
    document = pymupdf.open()
    for number in range(pages):
        document.new_page().insert_text((72, 80), f"Brake pad {random_text(8)} of page {number + 1} fits.")
    document.save(path)


def test_the_two_commands_of_the_guide_upload_a_document_and_show_it(
    api: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"kb": "kb-abc123", "doc": "doc-xyz789"}
    for module in (bases, documents):
        monkeypatch.setattr(module, "new_id", lambda prefix: named.get(prefix) or new_id(prefix))
    assert api.ask("POST", BASES, {"name": random_text(8)}).json["id"] == "kb-abc123"
    catalogue(tmp_path / "brake-catalog-2026.pdf")
    script = PIPELINE.replace("https://your-secureai-instance.com", api.appliance.address)
    script = script.replace("sk-your-api-key-here", api.key)
    upload, status = script.split("# 2.")
    for part in (upload, f"# 2.{status}"):
        done = subprocess.run(["sh", "-e", "-c", part], cwd=tmp_path, check=True, capture_output=True, text=True)
        shown = json.loads(done.stdout)
        assert (shown["id"], shown["knowledge_base_id"]) == ("doc-xyz789", "kb-abc123")
        assert shown["filename"] == "brake-catalog-2026.pdf"
    done_at_last = settled(api, f"{BASES}/kb-abc123/documents/doc-xyz789")
    assert (done_at_last["status"], done_at_last["page_count"]) == ("indexed", 3)
    assert api.ask("DELETE", f"{BASES}/kb-abc123").status == 204


def test_receivers_are_told_field_by_field(api: Running, told: Receiver, tmp_path: Path) -> None:
    base_id = api.ask("POST", BASES, {"name": random_text(8)}).json["id"]
    catalogue(tmp_path / "brake-pads-catalog-2026.pdf", pages=5)
    data = (tmp_path / "brake-pads-catalog-2026.pdf").read_bytes()
    path = f"{BASES}/{base_id}/documents"
    made = upload_file(api, path, data, "brake-pads-catalog-2026.pdf", "application/pdf").json
    uploaded = next_event(api, told, base_id)
    assert (uploaded["event"], uploaded["timestamp"]) == ("document.uploaded", made["created_at"])
    assert uploaded["data"] == {
        "document_id": made["id"],
        "knowledge_base_id": base_id,
        "filename": "brake-pads-catalog-2026.pdf",
        "size_bytes": len(data),
        "user_id": api.ask("GET", "/api/v1/me").json["id"],
    }
    shown = settled(api, f"{path}/{made['id']}")
    indexed = next_event(api, told, base_id)
    assert (indexed["event"], indexed["timestamp"]) == ("document.indexed", shown["indexed_at"])
    assert indexed["data"] == {
        "document_id": made["id"],
        "knowledge_base_id": base_id,
        "filename": "brake-pads-catalog-2026.pdf",
        "status": "indexed",
        "page_count": 5,
    }
    bad = upload_file(api, path, b"%PDF-1.7\n" + b"1 0 obj\n" * 50, "torn.pdf").json["id"]
    assert next_event(api, told, base_id)["event"] == "document.uploaded"
    error = settled(api, f"{path}/{bad}")["error"]
    failed = next_event(api, told, base_id)
    assert failed["event"] == "document.failed"
    assert failed["data"] == {
        "document_id": bad,
        "knowledge_base_id": base_id,
        "filename": "torn.pdf",
        "status": "failed",
        "error": error,
    }
    assert error["code"] == "damaged"
