"""The models that come with the program, placed in the data folder once.

A source checkout has them in `assets/models`, the onefile as sections of its own ELF file. Either way they end up as
plain files in `DATA/models`, where the engine maps them into memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from secureai_appliance.core.errors import StartupError
from secureai_appliance.core.paths import DataFolder, assets, flush_to_disk
from secureai_appliance.inference.gguf import GgufInfo, read_gguf
from secureai_appliance.models.elf import Section, read_sections

# called with the model's name, the bytes done and the bytes in all; at least once at the end of a copy
Progress = Callable[[str, int, int], None]

_PIECE = 4 * 1024 * 1024
# which content was put under which name: two models can well have a name and a size in common
_PLACED = "bundled.json"


def section_name(model_id: str) -> str:
    """The ELF section that holds a model in the onefile."""
    return f".model.{model_id}"


class ManifestEntry(msgspec.Struct, frozen=True):
    """One `[[model]]` of `assets/models.toml`, which says what the fields mean. What only set-up needs is left out."""

    id: str
    name: str
    file: str
    kind: Literal["chat", "embedding"]
    bytes: int
    sha256: str
    parameters: int
    licence: str
    owned_by: str


class Manifest(msgspec.Struct, frozen=True):
    """`assets/models.toml`."""

    model: list[ManifestEntry]


@dataclass(frozen=True)
class BundledModel:
    """A bundled model that is in the data folder. `size_bytes` and `sha256` are the file's."""

    id: str
    name: str
    kind: Literal["chat", "embedding"]
    file: str
    path: Path
    size_bytes: int
    sha256: str
    license: str
    owned_by: str

    @cached_property
    def info(self) -> GgufInfo:
        """What the file says of itself; read when it is first asked for, which no ordinary start does."""
        return read_gguf(self.path)


def read_manifest() -> list[ManifestEntry]:
    """The bundled models, in the order in which they become defaults."""
    return msgspec.toml.decode((assets() / "models.toml").read_bytes(), type=Manifest).model


def _ignore_progress(_name: str, _done: int, _total: int) -> None:
    return


def place_bundled(folder: DataFolder, progress: Progress = _ignore_progress) -> list[BundledModel]:
    """Make sure that every bundled model is in `folder.models`, and say which there are.

    A file that is there already costs one `stat`. A new one is checked against its SHA-256 while it is written and gets
    its name only when it is whole. Raises StartupError when a model is missing, damaged or does not fit on the disk.
    """
    placed = _read_placed(folder)
    models = []
    for entry in read_manifest():
        target = folder.models / entry.file
        if placed.get(entry.file) != entry.sha256 or not _has_size(target, entry.bytes):
            _place(entry, target, progress)
            placed[entry.file] = entry.sha256
            _write_placed(folder, placed)
        models.append(_bundled(entry, target))
    return models


def _bundled(entry: ManifestEntry, path: Path) -> BundledModel:
    return BundledModel(
        id=entry.id,
        name=entry.name,
        kind=entry.kind,
        file=entry.file,
        path=path,
        size_bytes=entry.bytes,
        sha256=entry.sha256,
        license=entry.licence,
        owned_by=entry.owned_by,
    )


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _place(entry: ManifestEntry, target: Path, progress: Progress) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        with _open_source(entry) as (source, section):
            source.seek(section.offset)
            # a copy and no second name for the file: what is done to one data folder must not reach into another
            _copy(source, section.size, part, entry.name, progress)
            _check(entry, part)
        part.replace(target)
        flush_to_disk(target.parent)
    except OSError as cause:
        part.unlink(missing_ok=True)
        raise StartupError(_why(entry, target, cause)) from cause
    except ValueError as cause:
        part.unlink(missing_ok=True)
        raise StartupError(f"The bundled model {entry.file} is damaged: {cause}. {_remedy()}") from cause


def _why(entry: ManifestEntry, target: Path, cause: OSError) -> str:
    if isinstance(cause, FileNotFoundError):
        return f"The bundled model {entry.file} is not there. {_remedy()}"
    if cause.errno == errno.ENOSPC:
        needed = f"{entry.bytes / 1e6:.0f} MB are needed"
        return (
            f"The disk of {target.parent} is full: {needed} for {entry.file}. Make room, or choose another --data DIR."
        )
    return f"The bundled model {entry.file} can't be put into {target.parent} ({cause.strerror})."


def _remedy() -> str:
    if getattr(sys, "frozen", False):
        return "Copy the program to this machine again and compare its checksum."
    return "Delete assets/models and run: sh packaging/run.sh"


@contextmanager
def _open_source(entry: ManifestEntry) -> Iterator[tuple[BinaryIO, Section]]:
    """The file that holds the model, and where in it. Raises ValueError when the program was built without it."""
    if getattr(sys, "frozen", False):
        with open(sys.executable, "rb") as program:
            section = read_sections(program).get(section_name(entry.id))
            if section is None:
                raise ValueError("the program holds no such section")
            yield program, section
    else:
        with (assets() / "models" / entry.file).open("rb") as file:
            yield file, Section(0, os.fstat(file.fileno()).st_size)


def _copy(source: BinaryIO, size: int, part: Path, name: str, progress: Progress) -> None:
    done = 0
    with part.open("xb") as output:
        while piece := source.read(min(_PIECE, size - done)):
            output.write(piece)
            done += len(piece)
            progress(name, done, size)
        output.flush()
        os.fsync(output.fileno())


def _check(entry: ManifestEntry, part: Path) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        raise ValueError(f"its SHA-256 is {found}, not {entry.sha256}")


def _read_placed(folder: DataFolder) -> dict[str, str]:
    try:
        return msgspec.json.decode((folder.models / _PLACED).read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        # unknown or unreadable: the files are placed again
        return {}


def _write_placed(folder: DataFolder, placed: dict[str, str]) -> None:
    beside = folder.models / f".{_PLACED}.part"
    beside.write_bytes(msgspec.json.encode(placed))
    beside.replace(folder.models / _PLACED)
