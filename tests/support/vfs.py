"""File systems that go wrong on purpose: full or broken disks, and power cuts.

Both stand on the real one (SQLite's shared memory included) and are named in `Store.open(vfs=...)`.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import apsw

SECTOR = 512

Operation = Literal["write", "sync", "truncate", "delete"]
W = TypeVar("W")


def _name(given: str | apsw.URIFilename | None) -> str | None:
    return given.filename() if isinstance(given, apsw.URIFilename) else given


class _File(apsw.VFSFile):
    """Tells its file system about everything that changes the disk."""

    def __init__(self, vfs: _WatchedVFS, given: str | apsw.URIFilename | None, flags: list[int]) -> None:
        # SQLite's own temporary files have no name, and nobody misses them after a crash
        path = _name(given)
        self._vfs = vfs
        self._file = Path(path).name if path else None
        super().__init__("", given, flags)

    def excepthook(self, *_: Any) -> bool:
        """What was injected is expected, and reaches SQLite as a result code."""
        return True

    def xWrite(self, data: Any, offset: int) -> None:
        with self._vfs.around("write", self._file):
            super().xWrite(data, offset)
            self._vfs.written(self._file, offset, bytes(data))

    def xSync(self, flags: int) -> None:
        with self._vfs.around("sync", self._file):
            self._vfs.synced(self._file)

    def xTruncate(self, newsize: int) -> None:
        with self._vfs.around("truncate", self._file):
            super().xTruncate(newsize)
            self._vfs.truncated(self._file, newsize)


class _WatchedVFS(apsw.VFS):
    """Counts what changes the disk, one operation at a time. Nothing is really synced: only these tests look."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.operations = 0
        self.counted: Counter[tuple[Operation, str | None]] = Counter()
        self.lock = threading.RLock()
        super().__init__(name, "")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def excepthook(self, *_: Any) -> bool:
        return True

    @contextmanager
    def around(self, operation: Operation, file: str | None) -> Iterator[None]:
        with self.lock:
            if file is not None:
                self.before(operation, file)
                self.operations += 1
                self.counted[operation, file] += 1
            yield

    def syncs(self, suffix: str) -> int:
        """How often files whose names end in `suffix` were synced."""
        return sum(
            n for (operation, file), n in self.counted.items() if operation == "sync" and str(file).endswith(suffix)
        )

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        with self.lock:
            path = _name(name)
            self.opened(Path(path) if path else None)
            return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self.around("delete", Path(filename).name):
            super().xDelete(filename, syncdir)
            self.deleted(Path(filename).name, syncdir)

    def before(self, operation: Operation, file: str) -> None: ...
    def opened(self, path: Path | None) -> None: ...
    def written(self, file: str | None, offset: int, data: bytes) -> None: ...
    def synced(self, file: str | None) -> None: ...
    def truncated(self, file: str | None, size: int) -> None: ...
    def deleted(self, file: str, synced: bool) -> None: ...


class CountingVFS(_WatchedVFS):
    """Goes right, and counts."""


class FaultyVFS(_WatchedVFS):
    """A disk that breaks at the n-th operation from now, for once or until it is healed."""

    def __init__(self, name: str) -> None:
        self._left: int | None = None
        self._lasting = False
        self._only: tuple[Operation, ...] = ()
        self._error: Callable[[], Exception] = apsw.FullError
        self.faults = 0
        super().__init__(name)

    def break_at(
        self,
        n: int,
        *,
        error: Callable[[], Exception] = apsw.FullError,
        lasting: bool = False,
        only: tuple[Operation, ...] = ("write", "sync", "truncate", "delete"),
    ) -> None:
        """Fail the n-th of the operations `only`, counted from 1, with one of apsw's errors."""
        with self.lock:
            self._left, self._error, self._lasting, self._only, self.faults = n, error, lasting, only, 0

    def heal(self) -> None:
        with self.lock:
            self._left = None

    def before(self, operation: Operation, file: str) -> None:
        if self._left is None or operation not in self._only:
            return
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._lasting):
            self.faults += 1
            raise self._error()


@dataclass
class _Disk:
    """One file: what a power cut leaves for certain (None: not even its name), and what it may take."""

    durable: bytearray | None = None
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    deleted: bool = False

    def sync(self) -> None:
        content = bytearray() if self.durable is None or self.deleted else self.durable
        for offset, data in self.pending:
            _apply(content, offset, data)
        self.durable, self.pending, self.deleted = content, [], False

    def after_cut(self, chance: random.Random | None) -> bytes | None:
        """The content after a cut now. With `chance`, some of what was not synced is there, torn at sectors."""
        if chance is None or (self.deleted and chance.random() < 0.5):
            return None if self.durable is None else bytes(self.durable)
        content = bytearray() if self.deleted or self.durable is None else bytearray(self.durable)
        survivors = 0
        for offset, data in self.pending:
            for part in _sectors(offset, data):
                if chance.random() < 0.7:
                    survivors += 1
                    _apply(content, *part)
        if not survivors and (self.durable is None or self.deleted):
            return None
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """A write, or a truncation to `offset` when there is no data."""
    if data is None:
        del content[offset:]
        return
    content.extend(b"\0" * (offset - len(content)))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes | None) -> Iterator[tuple[int, bytes | None]]:
    if data is None:
        yield offset, None
        return
    done = 0
    while done < len(data):
        part = data[done : done + SECTOR - (offset + done) % SECTOR]
        yield offset + done, part
        done += len(part)


@dataclass(frozen=True)
class Cut(Generic[W]):
    """What is on the disk after a power cut, and what the witness had seen answered just before."""

    files: dict[str, bytes]
    witness: W

    def write_to(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


class PowerCutVFS(_WatchedVFS, Generic[W]):
    """Keeps beside the real files what would be left of them, and takes a picture before operations that `when` picks.

    The run goes on after a picture, so that one run gives many cuts. What was not synced is lost; with `seed`, some of
    it is there all the same, as disks do it. The first sync of a new file syncs the folder as well, as SQLite does it:
    from then on the file's name is durable, and names that were deleted before are gone.
    """

    def __init__(
        self, name: str, *, witness: Callable[[], W], when: Callable[[int], bool], seed: int | None = None
    ) -> None:
        self.cuts: list[Cut[W]] = []
        self._witness = witness
        self._when = when
        self._chance = None if seed is None else random.Random(seed)
        self._disks: dict[str, _Disk] = {}
        super().__init__(name)

    def cut(self) -> Cut[W]:
        """What a power cut now would leave."""
        with self.lock:
            # the witness first: whatever it has seen must be on the disk by now
            witness = self._witness()
            images = {name: disk.after_cut(self._chance) for name, disk in self._disks.items()}
            return Cut({name: content for name, content in images.items() if content is not None}, witness)

    def before(self, operation: Operation, file: str) -> None:
        if self._when(self.operations):
            self.cuts.append(self.cut())

    def opened(self, path: Path | None) -> None:
        if path is None or path.name in self._disks:
            return
        self._disks[path.name] = _Disk(bytearray(path.read_bytes()) if path.exists() else None)

    def written(self, file: str | None, offset: int, data: bytes) -> None:
        if file is not None:
            self._disks[file].pending.append((offset, data))

    def synced(self, file: str | None) -> None:
        if file is None:
            return
        new = self._disks[file].durable is None or self._disks[file].deleted
        self._disks[file].sync()
        if new:
            self._sync_folder()

    def _sync_folder(self) -> None:
        for name, disk in self._disks.items():
            if disk.deleted:
                self._disks[name] = _Disk()

    def truncated(self, file: str | None, size: int) -> None:
        if file is not None:
            self._disks[file].pending.append((size, None))

    def deleted(self, file: str, synced: bool) -> None:
        disk = self._disks[file]
        if synced:
            self._disks[file] = _Disk()
        else:
            disk.deleted, disk.pending = True, []
