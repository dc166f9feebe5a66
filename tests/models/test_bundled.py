from __future__ import annotations

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest

from secureai_appliance.core.errors import StartupError
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.models import bundled
from secureai_appliance.models.bundled import place_bundled, read_manifest
from tests.support.elf import elf_file

CONTENT = b"GGUF and a few weights" * 1000


class Source:
    """A program that comes with one small model."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.assets = root / "assets"
        (self.assets / "models").mkdir(parents=True)
        self.file = self.assets / "models" / "tiny.gguf"
        self.file.write_bytes(CONTENT)
        self._root = root
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(bundled, "assets", lambda: self.assets)
        self.describe(CONTENT)

    def describe(self, content: bytes) -> None:
        """Write the manifest of a program whose model has this content."""
        (self.assets / "models.toml").write_text(
            f'[[model]]\nid = "tiny"\nname = "Tiny"\nfile = "tiny.gguf"\nkind = "chat"\nbytes = {len(content)}\n'
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nparameters = 1\nlicence = "MIT"\nowned_by = "us"\n'
        )

    def freeze(self, sections: dict[str, bytes]) -> None:
        """Become the onefile, with these sections."""
        self.file.unlink()
        program = self._root / "secureai"
        program.write_bytes(elf_file(sections))
        self._monkeypatch.setattr(sys, "frozen", True, raising=False)
        self._monkeypatch.setattr(sys, "executable", str(program))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    data = DataFolder(tmp_path / "data")
    data.create()
    return data


def test_the_manifest_names_one_chat_and_one_embedding_model() -> None:
    assert [(entry.id, entry.kind) for entry in read_manifest()] == [
        ("smollm2-135m-instruct", "chat"),
        ("all-minilm-l6-v2", "embedding"),
    ]


def test_a_checkout_gives_a_copy_so_that_no_folder_reaches_into_another(source: Source, folder: DataFolder) -> None:
    told: list[tuple[str, int, int]] = []
    (model,) = place_bundled(folder, lambda *progress: told.append(progress))
    assert model.path == folder.models / "tiny.gguf"
    assert told[-1] == ("Tiny", len(CONTENT), len(CONTENT))
    model.path.write_bytes(b"overwritten in place")
    assert source.file.read_bytes() == CONTENT


def test_the_onefile_copies_it_out_of_its_section(source: Source, folder: DataFolder) -> None:
    source.freeze({".text": b"code", ".model.tiny": CONTENT, "pydata": b"archive"})
    (model,) = place_bundled(folder)
    assert model.path.read_bytes() == CONTENT


def test_a_second_start_leaves_the_file_alone(source: Source, folder: DataFolder) -> None:
    source.freeze({".model.tiny": CONTENT})
    (first,) = place_bundled(folder)
    before = first.path.stat()
    place_bundled(folder)
    after = first.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_model_of_the_same_name_and_size_replaces_the_old_one(source: Source, folder: DataFolder) -> None:
    place_bundled(folder)
    other = CONTENT[::-1]
    source.file.unlink()
    source.file.write_bytes(other)
    source.describe(other)
    (model,) = place_bundled(folder)
    assert model.path.read_bytes() == other


def test_a_file_that_was_cut_off_is_placed_again(source: Source, folder: DataFolder) -> None:
    source.freeze({".model.tiny": CONTENT})
    (model,) = place_bundled(folder)
    os.truncate(model.path, 10)
    place_bundled(folder)
    assert model.path.read_bytes() == CONTENT


def test_what_an_interrupted_copy_left_is_not_in_the_way(source: Source, folder: DataFolder) -> None:
    source.freeze({".model.tiny": CONTENT})
    (folder.models / ".tiny.gguf.part").write_bytes(b"half")
    (model,) = place_bundled(folder)
    assert model.path.read_bytes() == CONTENT


def test_a_damaged_model_is_refused_and_leaves_no_file(source: Source, folder: DataFolder) -> None:
    source.freeze({".model.tiny": CONTENT[:-1] + b"?"})
    with pytest.raises(StartupError, match="damaged: its SHA-256") as refused:
        place_bundled(folder)
    assert "Copy the program" in refused.value.message
    assert [path.name for path in folder.models.iterdir() if path.is_file()] == []


def test_a_program_built_without_the_model_says_so(source: Source, folder: DataFolder) -> None:
    source.freeze({".text": b"code"})
    with pytest.raises(StartupError, match="no such section"):
        place_bundled(folder)


def test_a_checkout_without_the_files_names_the_command_that_fetches_them(source: Source, folder: DataFolder) -> None:
    source.file.unlink()
    with pytest.raises(StartupError, match=r"sh packaging/run\.sh"):
        place_bundled(folder)


def test_a_full_disk_is_said_with_the_figure(
    source: Source, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    source.freeze({".model.tiny": CONTENT})
    with pytest.raises(StartupError, match=r"is full: .* needed for tiny\.gguf"):
        place_bundled(folder)
    assert [path.name for path in folder.models.iterdir() if path.is_file()] == []
