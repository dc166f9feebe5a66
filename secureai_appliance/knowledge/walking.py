"""The plain files of a folder, opened so that nothing outside of it is ever read, whatever is moved meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO


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
        # what can't be listed after all could be anything
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            yield from self._files(os.path.realpath(self.folder), lambda _: self.closed.append("."))

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
                with suppress(OSError):
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        path = os.path.relpath(f"{folder}/{name}", top)
                        yield Found(_text(path), name, descriptor, status.st_size, status.st_mtime_ns)

    def _opens(self, name: str, folder: str, top: str) -> bool:
        path = f"{folder}/{name}"
        if os.access(path, os.R_OK | os.X_OK):
            return True
        self.closed.append(_text(os.path.relpath(path, top)))
        return False

    def knows(self, path: str) -> bool:
        """Whether a file at `path` would have been met."""
        return not any(folder == "." or PurePosixPath(path).is_relative_to(folder) for folder in self.closed)


def _text(path: str) -> str:
    """A path that can be stored, whatever bytes its names have."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
