"""The plain files of a folder, opened so that nothing outside of it is ever read, whatever is moved meanwhile."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

_LIKE_ESCAPED = re.compile(rb"\\x[0-9a-f]{2}")
"""What a byte that is no text is written as."""


@dataclass(frozen=True)
class Found:
    """A file that was met: `name` in the open folder `descriptor`, `path` below the walk's."""

    path: str
    name: str
    descriptor: int
    size: int
    modified: int
    """Nanoseconds."""

    def open(self) -> IO[bytes]:
        """Only while the walk stands at it. Raises OSError, also for what is a link by now."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.fdopen(os.open(self.name, flags, dir_fd=self.descriptor), "rb")

    def is_still(self, file: IO[bytes]) -> bool:
        """Whether the open file looks as it did when it was met."""
        status = os.fstat(file.fileno())
        return stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (self.size, self.modified)


@dataclass
class Walk:
    """A walk through `folder`, in the order of names. Hidden files and symbolic links are left out."""

    folder: str
    device: str = ""
    """The file system that it is on; empty when it could not be looked into."""
    closed: list[str] = field(default_factory=list)
    """Folders that can't be looked into: nothing is known of what is below them."""

    def files(self) -> Iterator[Found]:
        """Each file; the folder that it is in is open until the next is asked for."""
        try:
            yield from self._files(os.path.realpath(self.folder), lambda _: self.closed.append("."))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            # what can't be listed after all could be anything, and what would have come behind it was not met
            self.closed.append(".")

    def _files(self, top: str, failed: Callable[[OSError], None]) -> Iterator[Found]:
        for folder, below, names, descriptor in os.fwalk(top, onerror=failed, follow_symlinks=False):
            if folder == top:
                # it may have been moved since it was allowed
                if str(Path(f"/proc/self/fd/{descriptor}").readlink()) != top:
                    return
                self.device = str(os.fstat(descriptor).st_dev)
            below[:] = [name for name in sorted(below) if not name.startswith(".") and self._opens(name, folder, top)]
            for name in sorted(names):
                if name.startswith("."):
                    continue
                path = _text(os.path.relpath(f"{folder}/{name}", top))
                try:
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError:
                    self.closed.append(path)  # it is there, whatever it is
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield Found(path, name, descriptor, status.st_size, status.st_mtime_ns)

    def _opens(self, name: str, folder: str, top: str) -> bool:
        path = f"{folder}/{name}"
        if os.access(path, os.R_OK | os.X_OK):
            return True
        self.closed.append(_text(os.path.relpath(path, top)))
        return False

    def knows(self, path: str) -> bool:
        """Whether a file at `path` would have been met."""
        return not any(folder == "." or PurePosixPath(path).is_relative_to(folder) for folder in self.closed)


def filename(path: str) -> str:
    """What the document of the file at such a path is called: a backslash is a letter here, and no separator."""
    return PurePosixPath(path).name.replace("\\", "_")


def _text(path: str) -> str:
    """A path that can be stored, whatever bytes its names have; no two paths have the same."""
    return "/".join(map(_name, os.fsencode(path).split(b"/")))


def _name(raw: bytes) -> str:
    with suppress(UnicodeDecodeError):
        if not _LIKE_ESCAPED.search(raw):
            return raw.decode()
    return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
