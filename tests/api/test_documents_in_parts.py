"""Documents that come in parts, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from secureai_appliance import knowledge_commands
from secureai_appliance.cli import cli
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.core.ids import random_text
from secureai_appliance.knowledge import documents, indexes
from secureai_appliance.models import uploads
from tests.support.documents import encrypted_pdf
from tests.support.knowledge import settled, upload_file
from tests.support.running import Running
from tests.support.uploads import begin_upload, whole_upload

BASES = "/api/v1/knowledge"


@pytest.fixture
def key(api: Running) -> Iterator[str]:
    """An ordinary user's: who may not import models sends documents all the same. Their uploads go with the test."""
    made = api.make_user(f"{random_text(8)}@parts.example")
    yield made
    for upload in api.ask("GET", "/api/v1/uploads", key=made).json["data"]:
        api.ask("DELETE", f"/api/v1/uploads/{upload['id']}", key=made)


@pytest.fixture
def base(api: Running, key: str) -> str:
    return f"{BASES}/{api.ask('POST', BASES, {'name': random_text(10)}, key=key).json['id']}"


def test_an_upload_becomes_a_document_and_is_gone(api: Running, base: str, key: str) -> None:
    data = b"The keel is oak. " + bytes(range(32, 127)) * 40_000
    upload = whole_upload(api, data, "keel.txt", key=key)
    made = api.ask("POST", f"{base}/documents", {"upload_id": upload}, key=key)
    assert made.status == 201, made.body
    shown = made.json
    assert (shown["filename"], shown["size_bytes"], shown["status"]) == ("keel.txt", len(data), "queued")
    assert [document["id"] for document in shown["documents"]] == [shown["id"]]
    assert api.ask("GET", f"{base}/documents/{shown['id']}/content", key=key).body == data
    assert api.ask("GET", f"/api/v1/uploads/{upload}", key=key).status == 404
    assert not (api.appliance.settings.data_folder.uploads / upload).exists()
    assert api.ask("DELETE", f"{base}/documents/{shown['id']}", key=key).status == 204


def test_the_base_may_be_named_in_the_body_and_a_password_given(
    api: Running, base: str, key: str, tmp_path: Path
) -> None:
    upload = whole_upload(api, encrypted_pdf(tmp_path, "asdfzxcv").read_bytes(), "locked.pdf", key=key)
    body = {"upload_id": upload, "knowledge_base_id": base.rpartition("/")[2], "password": "asdfzxcv"}
    made = api.ask("POST", "/api/v1/documents", body, key=key)
    assert made.status == 201, made.body
    assert settled(api, f"{base}/documents/{made.json['id']}", key)["status"] == "indexed"


def test_what_is_not_complete_or_not_ones_own_is_refused(api: Running, base: str, key: str) -> None:
    part = begin_upload(api, b"abcdef", key=key)
    early = api.ask("POST", f"{base}/documents", {"upload_id": part}, key=key)
    assert (early.status, early.json["error"]["details"]["offset"]) == (409, 0)
    others = whole_upload(api, b"somebody else's")
    assert api.ask("POST", f"{base}/documents", {"upload_id": others}, key=key).status == 404
    assert api.ask("POST", f"{base}/documents", {"upload_id": others}).status == 404
    assert api.ask("DELETE", f"/api/v1/uploads/{others}").status == 204
    assert api.ask("GET", f"{base}/documents", key=key).json["total"] == 0


def test_bytes_that_are_there_are_409_and_the_upload_stays(api: Running, base: str, key: str) -> None:
    first = upload_file(api, f"{base}/documents", "the same", key=key).json["id"]
    upload = whole_upload(api, b"the same", key=key)
    again = api.ask("POST", f"{base}/documents", {"upload_id": upload}, key=key)
    assert (again.status, again.json["error"]["details"]["id"]) == (409, first)
    assert api.ask("GET", f"/api/v1/uploads/{upload}", key=key).json["status"] == "complete"


def test_document_and_upload_change_places_together_or_not_at_all(
    api: Running, base: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailable("Not now.", retry_after=1)

    def lost() -> int:
        with api.appliance.store.read() as db:
            query = "SELECT COUNT(*) FROM blobs WHERE row_id NOT IN (SELECT blob_id FROM documents)"
            return int(db.value(query))

    upload, before = whole_upload(api, b"\x89PNG" * 700_000, key=key), lost()
    for module, name in ((documents, "get"), (indexes, "enqueue"), (uploads, "remove")):
        with monkeypatch.context() as broken:
            broken.setattr(module, name, fail)
            assert api.ask("POST", f"{base}/documents", {"upload_id": upload}, key=key).status == 503
        assert api.ask("GET", f"{base}/documents", key=key).json["total"] == 0
        assert lost() == before
    made = api.ask("POST", f"{base}/documents", {"upload_id": upload}, key=key)
    assert made.status == 201
    assert api.ask("DELETE", f"/api/v1/documents/{made.json['id']}", key=key).status == 204


def test_a_document_has_a_bound_of_its_own(api: Running, base: str, key: str) -> None:
    setting = "/api/v1/configs/uploads.max_document_bytes"
    mine, admins = whole_upload(api, b"three", key=key), whole_upload(api, b"three")
    assert api.ask("PUT", setting, {"value": 4}).status == 200
    body = {"filename": "a", "size": 5, "sha256": "0" * 64}
    try:
        assert api.ask("POST", "/api/v1/uploads", body, key=key).json["error"]["details"]["max_bytes"] == 4
        assert api.ask("POST", f"{base}/documents", {"upload_id": mine}, key=key).status == 413
        # an administrator may send more: it may be a model
        large = api.ask("POST", "/api/v1/uploads", body)
        assert large.status == 201
    finally:
        assert api.ask("DELETE", setting).status == 204
    for upload in (admins, large.json["id"]):
        assert api.ask("DELETE", f"/api/v1/uploads/{upload}").status == 204


@pytest.mark.parametrize(
    ("scopes", "status"),
    [(["knowledge:write"], 200), (["models:write"], 200), (["knowledge:read"], 403)],
    ids=["documents", "models", "neither"],
)
def test_who_sends_documents_or_models_may_send_in_parts(api: Running, scopes: list[str], status: int) -> None:
    scoped = api.ask("POST", "/api/v1/keys", {"name": "scoped", "scopes": scopes}).json["key"]
    assert api.ask("GET", "/api/v1/uploads", key=scoped).status == status


def test_the_command_sends_large_files_in_parts_and_small_ones_whole(
    api: Running, base: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge_commands, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(knowledge_commands, "_LOOK_SECONDS", 0.02)
    (tmp_path / "large.txt").write_text("The large one is about rudders. " * 100)
    (tmp_path / "small.txt").write_text("The small one is about anchors.")
    arguments = ["knowledge", "add", base.rpartition("/")[2], str(tmp_path), "--url", api.appliance.address]
    arguments += ["--password", "asdfzxcv"]
    for _ in range(2):
        done = CliRunner().invoke(cli, arguments, env={"SECUREAI_KEY": key})
        assert done.exit_code == 0, done.output
    listed = api.ask("GET", f"{base}/documents?sort=filename", key=key).json["data"]
    assert [(each["filename"], each["status"]) for each in listed] == [
        ("large.txt", "indexed"),
        ("small.txt", "indexed"),
    ]
    assert api.ask("GET", "/api/v1/uploads", key=key).json["total"] == 0
