"""One `serve` per data folder: a lock that the kernel gives back when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from secureai_appliance.core.errors import EXIT_ALREADY_RUNNING, StartupError


class ServeLock:
    """The lock file of a data folder. Commands don't take it: they open the database beside the server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise StartupError (exit code 3) at once when another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").partition("\n")[0]
            os.close(descriptor)
            raise StartupError(self._refusal(holder), EXIT_ALREADY_RUNNING) from cause
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up. The file stays: deleting it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def note(self, text: str) -> None:
        """Leave a line for `noted`; the lock must be held."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, f"{os.getpid()}\n{text}\n".encode(), 0)

    @staticmethod
    def noted(path: Path) -> str | None:
        """What the process that serves this data folder left; None when there is none."""
        if not ServeLock.is_held(path):
            return None
        lines = path.read_text("utf-8").splitlines()
        return lines[1] if len(lines) > 1 else None

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a process serves this data folder now."""
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _refusal(self, holder: str) -> str:
        process = f" (process {holder})" if holder.isdigit() else ""
        return (
            f"SecureAI Appliance is already running{process} on the data folder {self._path.parent}: "
            "stop it first, or name another folder with --data DIR."
        )
