from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from secureai_appliance.core.errors import Conflict, Failure, NotFound, UnprocessableEntity, ValidationError
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.models import catalogue, changes, importing
from secureai_appliance.models.catalogue import Kind, ModelRow, ModelSettings
from secureai_appliance.models.changes import ModelPatch
from secureai_appliance.models.importing import Abandoned, Importer, ModelImport, sweep
from secureai_appliance.models.registry import Loader
from secureai_appliance.store import Store
from tests.support.gguf import gguf, string_key, tensor, u32_key

LLAMA = gguf(
    [string_key("general.architecture", "llama"), u32_key("llama.context_length", 2048)],
    [tensor("token_embd.weight", (32, 4))],
    bytes(512),
)


class Probe:
    """Says what it is told to; `meanwhile` happens while it looks."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.meanwhile = lambda: None

    def __call__(self, path: Path, kind: Kind) -> str | None:
        self.meanwhile()
        return self.reason


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    data = DataFolder(tmp_path / "data")
    data.create()
    return data


@pytest.fixture
def importer(store: Store, folder: DataFolder, probe: Probe) -> Importer:
    def never(path: Path, row: ModelRow) -> int:
        raise AssertionError("an import loads nothing here")

    return Importer(store, folder, Loader(lambda: "build-1", probe, never, never))  # type: ignore[arg-type]


@pytest.fixture
def file(folder: DataFolder) -> Path:
    path = folder.import_ / "My Model.Q8_0.gguf"
    path.write_bytes(LLAMA)
    return path


def nothing_happened(folder: DataFolder, store: Store) -> bool:
    with store.read() as db:
        return list(folder.imported.iterdir()) == [] and catalogue.all_models(db) == []


def test_an_imported_file_becomes_a_model_and_leaves_the_folder(
    importer: Importer, folder: DataFolder, file: Path
) -> None:
    digest = hashlib.sha256(LLAMA).hexdigest()
    row = importer.run(ModelImport(file=file.name, sha256=digest.upper(), aliases=["mine"]))
    assert (row.id, row.kind, row.source, row.sha256) == ("my-model.q8_0", "chat", "imported", digest)
    assert (row.aliases, row.probed_build, row.context_length) == (("mine",), "build-1", 2048)
    assert (folder.models / row.file).read_bytes() == LLAMA
    assert not file.exists()


@pytest.mark.parametrize("name", ["../secureai.db", "/etc/passwd", "a/b.gguf", "..", ".", ".part", "a\0b", "a\nb"])
def test_nothing_outside_the_folder_can_be_named(importer: Importer, name: str) -> None:
    with pytest.raises(ValidationError, match="without a path"):
        importer.run(ModelImport(file=name))


def test_links_and_pipes_are_refused(importer: Importer, folder: DataFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.gguf").write_bytes(LLAMA)
    (folder.import_ / "link.gguf").symlink_to(tmp_path / "elsewhere.gguf")
    os.mkfifo(folder.import_ / "pipe.gguf")
    (folder.import_ / "folder.gguf").mkdir()
    for name in ("link.gguf", "pipe.gguf", "folder.gguf"):
        with pytest.raises(UnprocessableEntity, match="no plain file"):
            importer.run(ModelImport(file=name))


def test_a_file_that_is_not_there_is_not_found(importer: Importer) -> None:
    with pytest.raises(NotFound):
        importer.run(ModelImport(file="none.gguf"))


@pytest.mark.parametrize("content", [b"", b"no model at all, by any means", LLAMA[:100], LLAMA[:-100]])
def test_a_file_that_is_no_whole_model_is_refused_and_stays(
    importer: Importer, folder: DataFolder, store: Store, file: Path, content: bytes
) -> None:
    file.write_bytes(content)
    with pytest.raises(UnprocessableEntity):
        importer.run(ModelImport(file=file.name))
    assert file.exists()
    assert nothing_happened(folder, store)


def test_another_checksum_is_refused(importer: Importer, folder: DataFolder, store: Store, file: Path) -> None:
    with pytest.raises(UnprocessableEntity, match="SHA-256 is"):
        importer.run(ModelImport(file=file.name, sha256="0" * 64))
    assert nothing_happened(folder, store)


def test_what_the_probe_refuses_is_not_imported(
    importer: Importer, folder: DataFolder, store: Store, file: Path, probe: Probe
) -> None:
    probe.reason = "it brought it down"
    with pytest.raises(UnprocessableEntity, match="brought it down"):
        importer.run(ModelImport(file=file.name))
    assert nothing_happened(folder, store)


def test_a_file_that_changes_meanwhile_is_not_imported(
    importer: Importer, folder: DataFolder, store: Store, file: Path, probe: Probe
) -> None:
    probe.meanwhile = lambda: file.write_bytes(LLAMA + b"more") and None
    with pytest.raises(Conflict, match="was changed"):
        importer.run(ModelImport(file=file.name))
    assert nothing_happened(folder, store)
    probe.meanwhile = file.unlink
    with pytest.raises(Conflict, match="went away"):
        importer.run(ModelImport(file=file.name))


def test_names_that_are_taken_are_refused(importer: Importer, folder: DataFolder, file: Path) -> None:
    importer.run(ModelImport(file=file.name, name="one", aliases=["first"]))
    file.write_bytes(LLAMA)
    for body in (
        ModelImport(file=file.name, name="one"),
        ModelImport(file=file.name, name="first"),
        ModelImport(file=file.name, name="two", aliases=["one"]),
    ):
        with pytest.raises(Conflict, match="is taken by the model 'one'"):
            importer.run(body)
    with pytest.raises(Conflict, match="is here already, as 'one'"):
        importer.run(ModelImport(file=file.name, name="two"))
    assert len(list(folder.imported.iterdir())) == 1


def test_a_client_that_goes_ends_the_import(importer: Importer, folder: DataFolder, store: Store, file: Path) -> None:
    with pytest.raises(Abandoned):
        importer.run(ModelImport(file=file.name), lambda: True)
    assert nothing_happened(folder, store)


def test_where_second_names_are_not_possible_it_is_copied(
    importer: Importer, folder: DataFolder, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    row = importer.run(ModelImport(file=file.name))
    assert (folder.models / row.file).read_bytes() == LLAMA


def test_a_full_disk_leaves_nothing_behind(
    importer: Importer, folder: DataFolder, store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def fill(source: Path, target: Path, **__: object) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(Failure, match="is full"):
        importer.run(ModelImport(file=file.name))
    assert nothing_happened(folder, store)
    assert file.exists()


def test_a_start_sweeps_what_a_crash_left_and_nothing_else(
    importer: Importer, folder: DataFolder, store: Store, file: Path
) -> None:
    row = importer.run(ModelImport(file=file.name))
    (folder.imported / "half.gguf").write_bytes(b"half")
    sweep(store, folder)
    assert list(folder.imported.iterdir()) == [folder.models / row.file]


# what an administrator changes of a model


@pytest.fixture
def row(importer: Importer, file: Path) -> ModelRow:
    return importer.run(ModelImport(file=file.name, name="tiny"))


def change(store: Store, row: ModelRow, body: ModelPatch) -> ModelRow:
    with store.transaction() as tx:
        return changes.patch(tx, row, body)


def aliases(add: list[str] | None = None, remove: list[str] | None = None) -> ModelPatch:
    return ModelPatch(aliases=changes.AliasChanges(add=add or [], remove=remove or []))


def test_aliases_come_and_go(store: Store, row: ModelRow) -> None:
    changed = change(store, row, aliases(["b", "a"]))
    assert changed.aliases == ("a", "b")
    assert change(store, changed, aliases(["a"], ["b"])).aliases == ("a",)
    with pytest.raises(UnprocessableEntity, match="no alias of"):
        change(store, row, aliases(remove=["none"]))


def test_default_moves_and_is_never_removed(store: Store, row: ModelRow) -> None:
    changed = change(store, row, aliases(["default"]))
    assert changed.aliases == ("default",)
    with pytest.raises(UnprocessableEntity, match="always stands for a model"):
        change(store, changed, aliases(remove=["default"]))
    with pytest.raises(Conflict, match="is the default model"), store.transaction() as tx:
        changes.remove(tx, changed)


def test_an_alias_names_no_model_to_change(store: Store, row: ModelRow) -> None:
    change(store, row, aliases(["a"]))
    with store.read() as db:
        found = catalogue.find(db, "a")
    with pytest.raises(UnprocessableEntity, match="name the model itself, 'tiny'"):
        change(store, found, ModelPatch(pinned=True))


def test_settings_and_pin_are_kept(store: Store, row: ModelRow) -> None:
    settings = ModelSettings(context_length=512, chat_template="{{ messages[0].content }}")
    change(store, row, ModelPatch(settings=settings, pinned=True))
    with store.read() as db:
        kept = catalogue.find(db, "tiny")
    assert (kept.settings, kept.pinned) == (settings, True)


def test_a_template_that_is_none_is_refused(store: Store, row: ModelRow) -> None:
    with pytest.raises(UnprocessableEntity, match="not valid"):
        change(store, row, ModelPatch(settings=ModelSettings(chat_template="{% for %}")))


def test_a_model_that_is_removed_takes_its_aliases_and_its_file_along(
    store: Store, row: ModelRow, folder: DataFolder
) -> None:
    change(store, row, aliases(["a"]))
    with store.read() as db:
        current = catalogue.find(db, "tiny")
    with store.transaction() as tx:
        changes.remove(tx, current)
    importing.remove_file(folder, current)
    with store.read() as db, pytest.raises(NotFound):
        catalogue.find(db, "a")
    assert list(folder.imported.iterdir()) == []
