"""Large files in parts, over real sockets."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.models import uploads
from secureai_appliance.models.uploads import LIFETIME, MAX_PART
from tests.support.models import EMBEDDING
from tests.support.running import Response, Running

PART = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture(autouse=True)
def _tidied(api: Running) -> Iterator[None]:
    """A test that fails leaves nothing that the next ones would count."""
    yield
    for upload in api.ask("GET", "/api/v1/uploads").json["data"]:
        api.ask("DELETE", f"/api/v1/uploads/{upload['id']}")


def begin(api: Running, content: bytes, **fields: Any) -> str:
    body = {"filename": "Sent.gguf", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **fields}
    made = api.ask("POST", "/api/v1/uploads", body)
    assert made.status == 201, made.body
    return f"/api/v1/uploads/{made.json['id']}"


def send(api: Running, path: str, offset: int, part: bytes) -> Response:
    return api.ask("PATCH", path, part, headers={**PART, "Upload-Offset": str(offset)})


def drop(api: Running, path: str) -> None:
    assert api.ask("DELETE", path).status == 204
    assert not (api.appliance.settings.data_folder.uploads / path.rsplit("/", 1)[1]).exists()


def test_a_model_comes_in_parts(api: Running) -> None:
    content = EMBEDDING.read_bytes() + bytes(160)
    path = begin(api, content)
    early = api.ask("POST", "/api/v1/models", {"upload_id": path.rsplit("/", 1)[1]})
    assert (early.status, early.json["error"]["details"]["offset"]) == (409, 0)
    for offset in range(0, len(content), MAX_PART):
        sent = send(api, path, offset, content[offset : offset + MAX_PART])
        assert sent.status == 200, sent.body
    assert sent.json["status"] == "complete"
    made = api.ask("POST", "/api/v1/models", {"upload_id": path.rsplit("/", 1)[1]})
    assert (made.status, made.json["id"]) == (201, "sent"), made.body
    assert api.ask("GET", path).status == 404
    assert api.ask("DELETE", "/api/v1/models/sent").status == 204


def test_another_offset_is_told_the_right_one_and_nothing_is_lost(api: Running) -> None:
    path = begin(api, b"abcdef")
    assert send(api, path, 0, b"abc").headers["upload-offset"] == "3"
    for offset in (0, 2, 6):
        wrong = send(api, path, offset, b"x")
        assert (wrong.status, wrong.json["error"]["details"]["offset"], wrong.headers["upload-offset"]) == (409, 3, "3")
    assert api.ask("HEAD", path).headers["upload-offset"] == "3"
    assert send(api, path, 3, b"defg").status == 400
    # a part that was written and never answered
    with (api.appliance.settings.data_folder.uploads / path.rsplit("/", 1)[1]).open("ab") as file:
        file.write(b"torn")
    assert send(api, path, 3, b"def").json["status"] == "complete"
    drop(api, path)


def test_a_part_that_can_not_be_brought_to_the_disk_does_not_count(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = begin(api, b"abcdef")
    assert send(api, path, 0, b"ab").status == 200
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        refused = send(api, path, 2, b"cd")
    assert (refused.status, "can't be written" in refused.json["error"]["message"]) == (503, True)
    assert send(api, path, 2, b"cdef").json["status"] == "complete"
    drop(api, path)


def test_another_checksum_is_found_at_the_end(api: Running) -> None:
    path = begin(api, b"abc", sha256="0" * 64)
    assert send(api, path, 0, b"ab").status == 200
    assert send(api, path, 2, b"c").status == 422
    assert api.ask("GET", path).json["offset"] == 0
    drop(api, path)


def test_an_upload_goes_in_the_transaction_that_enters_its_model(api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ServiceUnavailable("Not now.", retry_after=1)

    content = EMBEDDING.read_bytes() + bytes(224)
    path = begin(api, content)
    for offset in range(0, len(content), MAX_PART):
        send(api, path, offset, content[offset : offset + MAX_PART])
    body = {"upload_id": path.rsplit("/", 1)[1], "name": "sent"}
    with monkeypatch.context() as broken:
        broken.setattr(uploads, "remove", fail)
        assert api.ask("POST", "/api/v1/models", body).status == 503
    assert api.ask("GET", "/api/v1/models/sent").status == 404
    assert list(api.appliance.settings.data_folder.imported.iterdir()) == []
    assert api.ask("GET", path).json["status"] == "complete"
    assert api.ask("POST", "/api/v1/models", body).status == 201
    assert api.ask("GET", path).status == 404
    assert api.ask("DELETE", "/api/v1/models/sent").status == 204


def damaged(at: int, length: int) -> bytes:
    """A model with other bytes at a place: the same ones each time."""
    content = EMBEDDING.read_bytes()
    return content[:at] + random.Random(at).randbytes(length) + content[at + length :]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"not a model at all, by any means", "is not a GGUF model"),
        (lambda: b"GGUF" + bytes(100), "GGUF version 0"),
        (lambda: EMBEDDING.read_bytes()[:1000], "middle of its header"),
        (lambda: EMBEDDING.read_bytes()[:-1000], "is incomplete: it has"),
        (lambda: damaged(4, 4), "is GGUF version"),
        (lambda: damaged(8, 16), "it claims"),
        (lambda: damaged(24, 400), "is damaged"),
        (lambda: damaged(100_000, 4000), "is incomplete"),
        (lambda: EMBEDDING.read_bytes().replace(b"bert", b"bort"), "The model can't be used"),
    ],
    ids=["text", "empty", "header", "truncated", "version", "counts", "keys", "vocabulary", "architecture"],
)
def test_what_is_no_model_is_refused_and_the_server_stays(api: Running, make: Callable[[], bytes], says: str) -> None:
    content = make()
    path = begin(api, content)
    for offset in range(0, len(content), MAX_PART):
        assert send(api, path, offset, content[offset : offset + MAX_PART]).status == 200
    answer = api.ask("POST", "/api/v1/models", {"upload_id": path.rsplit("/", 1)[1], "name": "broken"})
    assert (answer.status, says in answer.json["error"]["message"]) == (422, True), answer.body
    assert api.ask("GET", "/api/v1/models/broken").status == 404
    assert list(api.appliance.settings.data_folder.imported.iterdir()) == []
    drop(api, path)


def test_an_upload_that_nobody_goes_on_with_is_thrown_away(api: Running) -> None:
    path, kept = begin(api, b"abc"), begin(api, b"abd")
    send(api, path, 0, b"a")
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE uploads SET updated_at = ? WHERE id = ?", tx.now() - LIFETIME - 1, path.rsplit("/", 1)[1])
    (api.appliance.settings.data_folder.uploads / "upl-nobodys").write_bytes(b"left")
    api.appliance.uploads.sweep()
    assert len(list(api.appliance.settings.data_folder.uploads.iterdir())) == 0
    assert api.ask("GET", path).status == 404
    assert api.ask("GET", kept).status == 200
    drop(api, kept)


def test_uploads_are_bounded_by_settings(api: Running) -> None:
    path = begin(api, b"abc")
    for setting, value, status in (("max_bytes", 2, 413), ("open_per_user", 1, 409)):
        assert api.ask("PUT", f"/api/v1/configs/uploads.{setting}", {"value": value}).status == 200
        again = api.ask("POST", "/api/v1/uploads", {"filename": "a", "size": 3, "sha256": "0" * 64})
        assert again.status == status, again.body
        assert api.ask("DELETE", f"/api/v1/configs/uploads.{setting}").status == 204
    drop(api, path)


def test_what_the_disk_has_no_room_for_is_refused_with_what_others_have_announced(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def announce(size: int) -> Response:
        return api.ask("POST", "/api/v1/uploads", {"filename": "a", "size": size, "sha256": "0" * 64})

    usage = shutil.disk_usage(api.appliance.settings.data_folder.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=uploads._SPARE + 1000))
    assert announce(1001).json["error"]["details"]["max_bytes"] == 1000
    assert announce(600).status == 201
    refused = announce(600)
    assert (refused.status, refused.json["error"]["details"]["max_bytes"]) == (413, 400)
    assert announce(400).status == 201


@pytest.mark.parametrize("name", [".", "..", "/", "../a", "a/", "a\nb"])
def test_a_name_that_is_a_path_is_refused(api: Running, name: str) -> None:
    refused = api.ask("POST", "/api/v1/uploads", {"filename": name, "size": 3, "sha256": "0" * 64})
    assert (refused.status, refused.json["error"]["details"]["field"]) == (400, "filename")


def test_a_part_has_its_bound_too(api: Running) -> None:
    path = begin(api, bytes(MAX_PART + 1))
    assert send(api, path, 0, bytes(MAX_PART + 1)).status == 413
    assert send(api, path, 0, bytes(MAX_PART)).json["offset"] == MAX_PART
    drop(api, path)


def test_uploads_are_bounded_and_ones_own(api: Running) -> None:
    too_large = api.ask("POST", "/api/v1/uploads", {"filename": "a", "size": 2**50, "sha256": "0" * 64})
    assert too_large.status == 413
    paths = [begin(api, b"abc") for _ in range(8)]
    again = {"filename": "a", "size": 1, "sha256": "0" * 64}
    assert api.ask("POST", "/api/v1/uploads", again).status == 409
    other = api.make_user("other-uploads@example.test", role="admin")
    assert api.ask("GET", paths[0], key=other).status == 404
    assert api.ask("GET", "/api/v1/uploads", key=other).json["total"] == 0
    for path in paths:
        drop(api, path)


def test_a_part_needs_its_type_and_its_place(api: Running) -> None:
    path = begin(api, b"abc")
    assert api.ask("PATCH", path, b"abc", headers={"Upload-Offset": "0"}).status == 415
    assert api.ask("PATCH", path, b"abc", headers=PART).status == 400
    drop(api, path)
