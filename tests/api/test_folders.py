"""Folders that bases are filled from, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from secureai_appliance.cli import cli
from secureai_appliance.core.ids import random_text
from secureai_appliance.knowledge.following import folders
from secureai_appliance.knowledge.following.watching import THREAD, Watcher
from secureai_appliance.readiness import look
from secureai_appliance.web.parts import Check
from tests.support.knowledge import ready
from tests.support.running import PATIENCE, Running

BASES = "/api/v1/knowledge"


@pytest.fixture
def folder(api: Running, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "manuals"
    path.mkdir()
    assert api.ask("PUT", "/api/v1/configs/knowledge.folders", {"value": [str(tmp_path)]}).status == 200
    yield path
    assert api.ask("DELETE", "/api/v1/configs/knowledge.folders").status == 204


@pytest.fixture
def base(api: Running) -> str:
    return f"{BASES}/{api.ask('POST', BASES, {'name': random_text(10)}).json['id']}"


class Tomorrow:
    """The appliance's clock, some time later each time it is asked: every folder is due."""

    def __init__(self) -> None:
        self.later = 0

    def now(self) -> float:
        return time.time() + self.later

    def monotonic(self) -> float:
        return 0.0


def test_a_folder_is_followed_and_what_is_in_it_found(api: Running, base: str, folder: Path) -> None:
    name = base.rpartition("/")[2]
    common = ["--url", api.appliance.address, "--key", api.key]
    done = CliRunner().invoke(cli, ["knowledge", "watch", name, str(folder), *common])
    assert done.exit_code == 0, done.output
    shown = api.ask("GET", f"{base}/folder").json
    assert (shown["knowledge_base_id"], shown["path"], shown["problem"]) == (name, str(folder), None)
    (folder / "gaskets.txt").write_text("The gaskets arrive on Thursday by barge.")
    (folder / "noise.bin").write_bytes(b"\x7fELF" + bytes(100))
    parts, clock = api.appliance, Tomorrow()
    watcher = Watcher(parts.store, clock, parts.configs, parts.settings.data_folder.root, parts.ingest.wake)
    for _ in range(2):
        clock.later += 100
        while watcher.work():
            pass
    ready(api, base)
    hits = api.ask("POST", f"{base}/search", {"query": "When do the gaskets arrive?"}).json["data"]
    assert hits[0]["filename"] == "gaskets.txt"
    files = api.ask("GET", f"{base}/folder/files?sort=path").json["data"]
    assert [(file["path"], file["status"]) for file in files] == [("gaskets.txt", "taken"), ("noise.bin", "failed")]
    failed = api.ask("GET", f"{base}/folder/files?status=failed").json
    assert (failed["total"], failed["data"][0]["error"]["code"]) == (1, "unsupported_type")
    done = CliRunner().invoke(cli, ["knowledge", "unwatch", name, *common])
    assert done.exit_code == 0, done.output
    assert api.ask("GET", f"{base}/folder").status == 404
    assert api.ask("GET", f"{base}/documents").json["total"] == 2


def test_who_may_only_read_a_base_is_not_told_a_path_of_the_server(api: Running, base: str, folder: Path) -> None:
    reader = api.make_user(f"{random_text(8)}@folders.example")
    share = {"user_id": api.ask("GET", "/api/v1/me", key=reader).json["id"], "access": "read"}
    assert api.ask("PATCH", base, {"visibility": "shared", "shares": [share]}).status == 200
    assert api.ask("PUT", f"{base}/folder", {"path": str(folder)}).status == 200
    assert api.ask("GET", base, key=reader).status == 200
    for path in ("/folder", "/folder/files"):
        answer = api.ask("GET", f"{base}{path}", key=reader)
        assert answer.status == 403
        assert str(folder) not in answer.body.decode()


@pytest.mark.parametrize("path", ["/etc", "relative", "{folder}/none", "{data}", "{folder}/../../..", "{folder}/../up"])
def test_a_folder_that_is_not_allowed_is_422(api: Running, base: str, folder: Path, path: str) -> None:
    (folder.parent / "up").symlink_to("/")
    asked = path.format(folder=folder, data=api.appliance.settings.data_folder.root)
    answer = api.ask("PUT", f"{base}/folder", {"path": asked})
    assert (answer.status, answer.json["error"]["details"]["field"]) == (422, "path")
    assert api.ask("GET", f"{base}/folder").status == 404


def test_who_may_fill_a_base_does_not_thereby_read_the_servers_folders(api: Running, folder: Path) -> None:
    key = api.make_user(f"{random_text(8)}@folders.example")
    mine = f"{BASES}/{api.ask('POST', BASES, {'name': 'mine'}, key=key).json['id']}"
    refused = api.ask("PUT", f"{mine}/folder", {"path": str(folder)}, key=key)
    assert (refused.status, refused.json["error"]["details"]) == (403, {"permission": "knowledge:watch"})


def test_a_stale_if_match_changes_no_folder(api: Running, base: str, folder: Path) -> None:
    assert api.ask("PUT", f"{base}/folder", {"path": str(folder)}).status == 200
    tag = api.ask("GET", f"{base}/folder").headers["etag"]
    assert api.ask("PUT", f"{base}/folder", {"path": str(folder.parent)}, headers={"If-Match": tag}).status == 200
    for method, body in (("PUT", {"path": str(folder)}), ("DELETE", None)):
        assert api.ask(method, f"{base}/folder", body, headers={"If-Match": tag}).status == 412
    assert api.ask("GET", f"{base}/folder").json["path"] == str(folder.parent)


def test_a_folder_that_does_not_answer_holds_up_nobody_who_writes_and_is_422(
    api: Running, base: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written, is_back = folders.refusal, [], threading.Event()

    def refusal(path: str, allowed: folders.Allowed) -> object:
        if threading.current_thread().name == THREAD:
            return real(path, allowed)  # the appliance follows what tests have left
        if written:
            return is_back.wait(PATIENCE)
        written.append(api.ask("POST", BASES, {"name": random_text(10)}).status)
        return real(path, allowed)

    monkeypatch.setattr(folders, "refusal", refusal)
    assert api.ask("PUT", f"{base}/folder", {"path": str(folder)}).status == 200
    assert written == [201]

    monkeypatch.setattr(folders, "_PATIENCE_SECONDS", 0.0)
    refused = api.ask("PUT", f"{base}/folder", {"path": str(folder)})
    is_back.set()
    assert (refused.status, refused.json["error"]["details"]["constraint"]) == (422, "no_answer")


def test_a_watched_folder_that_does_not_answer_is_no_reason_to_serve_nobody(
    api: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = api.appliance
    monkeypatch.setattr(Watcher, "silent", 1)
    checks = look(parts.store, parts.settings.data_folder, parts._scheduler, parts.models, parts._watcher)
    note = "Watched folders whose file system does not answer: 1."
    assert Check("watched folders", ok=True, message=note) in checks
