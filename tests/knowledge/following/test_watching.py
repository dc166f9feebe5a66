"""Folders that are followed, with a clock that stands still: what comes, changes and goes, and what is never read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.knowledge import bases, documents
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import DocumentError, DocumentQuery, NewFile
from secureai_appliance.knowledge.following import folders, looks, walking
from secureai_appliance.knowledge.following.folders import Allowed
from secureai_appliance.knowledge.following.looks import Look, Tools
from tests.support.following import SEALER, Followed


def test_files_that_come_change_and_go_do_so_in_the_base(followed: Followed) -> None:
    followed.write("a.txt", "the first")
    followed.write("deep/er/b.txt", "the second")
    followed.look()
    assert followed.documents() == {}  # they may be half written
    assert {file.status for file in followed.files().values()} == {"waiting"}
    followed.look()
    first = followed.documents()
    assert {name: document.status for name, document in first.items()} == {"a.txt": "queued", "b.txt": "queued"}
    assert followed.arrived == 2
    assert set(followed.files()) == {"a.txt", "deep/er/b.txt"}

    followed.write("a.txt", "the first, changed")
    followed.look(2)
    assert followed.text("a.txt") == "the first, changed"
    assert {document.id for document in followed.documents().values()} == {each.id for each in first.values()}

    (followed.folder / "deep/er/b.txt").unlink()
    followed.look()
    assert set(followed.documents()) == {"a.txt", "b.txt"}  # it may be on its way to another name
    followed.look()
    assert set(followed.documents()) == {"a.txt"}
    (followed.folder / "a.txt").unlink()
    followed.look(2)
    assert followed.documents() == {}
    assert followed.files() == {}
    assert [action for action in followed.actions() if action.startswith("document.")] == [
        *("document.uploaded", "document.uploaded", "document.replaced", "document.deleted", "document.deleted"),
    ]


def test_a_file_that_grows_is_left_until_it_stands_still(followed: Followed) -> None:
    for length in range(1, 5):
        followed.write("a.txt", "x" * length)
        followed.look()
        assert followed.documents() == {}
    followed.look()
    assert followed.documents()["a.txt"].size_bytes == 4


def test_another_time_alone_changes_nothing(followed: Followed) -> None:
    followed.write("a.txt", "the same")
    followed.look(2)
    before = followed.documents()
    os.utime(followed.folder / "a.txt", ns=(0, 5))
    followed.look(3)
    assert followed.documents() == before
    assert followed.files()["a.txt"].status == "taken"


def test_a_file_with_a_new_name_keeps_its_document(followed: Followed) -> None:
    followed.write("old.txt", "the same")
    followed.look(2)
    document = followed.documents()["old.txt"].id
    (followed.folder / "old.txt").rename(followed.folder / "new.txt")
    followed.look(3)
    assert {name: each.id for name, each in followed.documents().items()} == {"new.txt": document}


def test_the_same_bytes_twice_are_one_document_until_both_are_gone(followed: Followed) -> None:
    followed.write("a.txt", "the same")
    followed.write("b.txt", "the same")
    followed.look(2)
    assert len(followed.documents()) == 1
    (followed.folder / "a.txt").unlink()
    followed.look(2)
    assert set(followed.documents()) == {"b.txt"}
    followed.write("c.txt", "the same")
    followed.look(2)
    followed.write("c.txt", "another")
    followed.look(2)
    assert {name: followed.text(name) for name in followed.documents()} == {"b.txt": "the same", "c.txt": "another"}
    (followed.folder / "b.txt").unlink()
    followed.look(2)
    assert set(followed.documents()) == {"c.txt"}


def test_what_somebody_uploaded_stays_when_its_twin_in_the_folder_goes(followed: Followed) -> None:
    blob = BlobWriter(followed.store)
    blob.write(b"uploaded")
    with followed.store.transaction() as tx:
        files = [NewFile("mine.txt", "text/plain", blob)]
        documents.add(tx, followed.owner, followed.base, files, sealer=SEALER, password=None)
    followed.write("theirs.txt", "uploaded")
    followed.look(2)
    assert followed.files()["theirs.txt"].document_id == followed.documents()["mine.txt"].id
    (followed.folder / "theirs.txt").unlink()
    followed.look(2)
    assert set(followed.documents()) == {"mine.txt"}


def test_what_somebody_deletes_comes_again_only_when_its_file_changes(followed: Followed) -> None:
    followed.write("a.txt", "unwanted")
    followed.look(2)
    with followed.store.transaction() as tx:
        documents.delete(tx, followed.owner, followed.documents()["a.txt"])
    followed.look(3)
    assert followed.documents() == {}
    followed.write("a.txt", "wanted again")
    followed.look(2)
    assert followed.text("a.txt") == "wanted again"


def test_links_hidden_files_and_pipes_are_left_out(followed: Followed, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (followed.folder / "link.txt").symlink_to(outside / "secret.txt")
    (followed.folder / "linked").symlink_to(outside)
    followed.write("real.txt", "real")
    (followed.folder / "inside.txt").symlink_to(followed.folder / "real.txt")
    followed.write(".hidden", "hidden")
    followed.write(".git/config", "hidden")
    os.mkfifo(followed.folder / "pipe")
    followed.look(3)
    assert set(followed.documents()) == {"real.txt"}


def test_names_that_are_no_text_are_told_apart_from_those_that_look_like_them(followed: Followed) -> None:
    texts = {b"bad\xff.txt": "one", b"bad\\xff.txt": "two", b"bad\\\\xff.txt": "three", b"a\\b.txt": "four"}
    for name, text in texts.items():
        path = Path(os.fsdecode(os.fsencode(followed.folder) + b"/" + name))
        path.write_text(text)
        os.utime(path, ns=(0, len(name) * 1000))
    followed.look(4)
    assert {file.status for file in followed.files().values()} == {"taken"}
    assert len(followed.files()) == 4
    with followed.store.read() as db:
        names = sorted(each.filename for each in documents.list_(db, followed.owner, DocumentQuery()).data)
    assert names == ["a_b.txt", "bad____xff.txt", "bad__xff.txt", "bad_xff.txt"]
    Path(os.fsdecode(os.fsencode(followed.folder) + b"/bad\xff.txt")).unlink()
    followed.look(2)
    assert set(followed.documents()) == {"a_b.txt", "bad____xff.txt", "bad__xff.txt"}


def test_a_walk_that_ends_early_or_a_file_that_can_not_be_looked_at_takes_nothing_along(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a.txt", "text of a")
    followed.write("sub/b.txt", "text of b")
    followed.write("sub/c.txt", "text of c")
    followed.look(2)
    real_scandir, real_stat = os.scandir, os.stat

    def vanished(path: Any = ".") -> Any:
        # what listing a folder says that was deleted after it was opened
        if isinstance(path, int) and Path(f"/proc/self/fd/{path}").readlink().name == "sub":
            raise FileNotFoundError(2, "No such file or directory")
        return real_scandir(path)

    def broken(path: Any, **named: Any) -> Any:
        if path == "b.txt":
            raise OSError(5, "Input/output error")
        return real_stat(path, **named)

    for name, fault in (("scandir", vanished), ("stat", broken)):
        with monkeypatch.context() as faulty:
            faulty.setattr(os, name, fault)
            followed.look(4)
        assert set(followed.documents()) == {"a.txt", "b.txt", "c.txt"}, name


def test_a_file_that_becomes_a_link_before_it_is_opened_is_not_read(
    followed: Followed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    followed.write("a.txt", "secret")
    real = walking.Found.open

    def swapped(found: walking.Found) -> object:
        (followed.folder / "a.txt").unlink()
        (followed.folder / "a.txt").symlink_to(tmp_path / "secret.txt")
        return real(found)

    followed.look()
    monkeypatch.setattr(walking.Found, "open", swapped)
    followed.look()
    assert followed.documents() == {}
    assert followed.files()["a.txt"].error is not None


def test_only_folders_that_an_administrator_allows_are_followed(followed: Followed, tmp_path: Path) -> None:
    followed.write("a.txt", "text")
    followed.look(2)
    with followed.store.transaction() as tx:
        followed.configs.put(tx, SYSTEM, folders.ROOTS, [])
    followed.look(3)
    assert followed.problem() == "not_allowed"
    assert set(followed.documents()) == {"a.txt"}
    with followed.store.transaction() as tx:
        followed.configs.put(tx, SYSTEM, folders.ROOTS, ["/"])
    followed.look()
    assert followed.problem() is None
    outer = Allowed(["/"], followed.allowed.data)
    for path in (tmp_path / "data", tmp_path, tmp_path / "data" / "tmp"):
        reason = folders.refusal(str(path), outer)
        assert reason is not None
        assert reason.code == "not_allowed"
    # a link does not lead out
    (followed.folder / "out").symlink_to("/usr")
    for path in (followed.folder / "out", followed.folder / ".." / ".." / "data", Path("/etc")):
        reason = folders.refusal(str(path), followed.allowed)
        assert reason is not None
        assert reason.code == "not_allowed"


def test_a_folder_that_is_away_takes_nothing_along_and_is_told_once(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a.txt", "text")
    followed.look(2)
    away = followed.folder.rename(followed.folder.with_name("away"))
    followed.look(4)
    assert followed.problem() == "missing"
    # an empty folder in its place, on another file system: a mount point
    followed.folder.mkdir()
    with followed.store.transaction() as tx:
        tx.run("UPDATE knowledge_folders SET device = 'other'")
    followed.look(4)
    assert followed.problem() == "unmounted"
    assert set(followed.documents()) == {"a.txt"}
    followed.folder.rmdir()
    away.rename(followed.folder)
    followed.look(2)
    assert followed.problem() is None
    assert [action for action in followed.actions() if action == "knowledge.folder_failed"] == [
        "knowledge.folder_failed"
    ] * 2

    # and of a part that can't be looked into nothing is known
    followed.write("deep/b.txt", "text of b")
    followed.look(2)
    (followed.folder / "deep" / "b.txt").unlink()
    real = os.access
    with monkeypatch.context() as closed:
        closed.setattr(os, "access", lambda path, mode: not str(path).endswith("deep") and real(path, mode))
        followed.look(4)
    assert set(followed.documents()) == {"a.txt", "b.txt"}
    followed.look(2)
    assert set(followed.documents()) == {"a.txt"}


def test_what_is_too_large_or_unreadable_is_told_once_with_its_code(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with followed.store.transaction() as tx:
        followed.configs.put(tx, SYSTEM, "uploads.max_document_bytes", 10)
    followed.write("large.txt", "eleven byte")
    followed.write("closed.txt", "closed")

    def refuse(found: walking.Found) -> object:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as closed:
        closed.setattr(walking.Found, "open", refuse)
        followed.look(5)
    codes = {path: file.error.code for path, file in followed.files().items() if file.error}
    assert codes == {"large.txt": "too_large", "closed.txt": "unreadable"}
    assert followed.actions().count("knowledge.file_refused") == 2
    # once it can be read it is, although it looks the same
    followed.look()
    assert set(followed.documents()) == {"closed.txt"}
    assert followed.files()["closed.txt"].error is None


def test_of_a_file_that_can_not_be_read_to_its_end_nothing_stays(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (followed.folder / "large.bin").write_bytes(bytes(range(256)) * 4096 * 3)
    followed.look()

    def copy(file: IO[bytes], blob: BlobWriter) -> Iterator[None]:
        blob.write(file.read(2 << 20))
        yield
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(looks, "_copy", copy)
    followed.look()
    assert followed.files()["large.bin"].error == DocumentError(
        code="unreadable", message="The file can't be read: Input/output error."
    )
    with followed.store.read() as db:
        assert db.value("SELECT COUNT(*) FROM blobs") == 0


def test_a_large_file_is_taken_in_small_pieces(followed: Followed) -> None:
    (followed.folder / "large.bin").write_bytes(bytes(range(256)) * 4096 * 6)
    followed.look()
    tools = Tools(followed.store, followed.configs, followed.allowed.data, lambda: None)
    assert sum(1 for _ in Look(tools, followed.base).run()) >= 12  # each of them is read twice
    assert followed.documents()["large.bin"].size_bytes == 6 << 20


def test_another_folder_takes_the_place_of_the_first_and_none_leaves_the_documents(followed: Followed) -> None:
    followed.write("a.txt", "of the first")
    followed.look(2)
    other = followed.folder.with_name("other")
    other.mkdir()
    (other / "b.txt").write_text("of the second")
    followed.follow(other)
    followed.look(2)
    assert set(followed.documents()) == {"b.txt"}
    with followed.store.transaction() as tx:
        folders.delete(tx, followed.owner, followed.base)
    (other / "b.txt").unlink()
    followed.look(3)
    assert set(followed.documents()) == {"b.txt"}


def test_a_base_that_is_deleted_while_its_folder_is_looked_at_leaves_nothing(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.write("a.txt", "text")
    followed.look()
    real = walking.Found.open

    def meanwhile(found: walking.Found) -> object:
        with followed.store.transaction() as tx:
            bases.delete(tx, followed.owner, followed.base)
        return real(found)

    monkeypatch.setattr(walking.Found, "open", meanwhile)
    followed.look(2)
    with followed.store.read() as db:
        for table in ("documents", "folder_files", "knowledge_folders"):
            assert db.value(f"SELECT COUNT(*) FROM {table}") == 0
