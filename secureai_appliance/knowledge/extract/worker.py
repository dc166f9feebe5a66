"""Reading a file in a process of its own, with bounds: what breaks there breaks one document."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from secureai_appliance.core.worker import worker_command
from secureai_appliance.knowledge.extract.extracted import Code, Extracted, Limits, Unreadable

FRAME = struct.Struct("!cQ")
PROGRESS, DONE, REFUSED = b"p", b"d", b"r"
_POLL = 0.1
_PIECE = 1 << 20


class Task(msgspec.Struct, frozen=True):
    """What the child is told on its standard input, as JSON."""

    path: str
    filename: str
    content_type: str | None
    password: str | None
    limits: Limits


class Refusal(msgspec.Struct, frozen=True):
    """Why the child gave no text."""

    code: Code
    message: str


def run(
    path: Path,
    filename: str,
    content_type: str | None = None,
    password: str | None = None,
    *,
    limits: Limits | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Extracted:
    """The text of the file at `path`, called `filename` by its user.

    `on_progress` is told the share that has been read (0 to 1), from this thread. `cancelled` is asked ten times
    a second; the child is killed when it says so, and with this process. Raises Unreadable with the document's code.
    """
    limits = limits or Limits()
    child = subprocess.Popen(
        worker_command("extract"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        task = Task(str(path.absolute()), filename, content_type, password, limits)
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(msgspec.json.encode(task))
        return _result(child, _Frames(child.stdout, limits, cancelled), on_progress)
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def _result(child: subprocess.Popen[bytes], frames: _Frames, on_progress: Callable[[float], None]) -> Extracted:
    while (frame := frames.next()) is not None:
        kind, data = frame
        if kind == PROGRESS:
            on_progress(msgspec.msgpack.decode(data, type=float))
        elif kind == DONE:
            return msgspec.msgpack.decode(data, type=Extracted)
        else:
            refusal = msgspec.msgpack.decode(data, type=Refusal)
            raise Unreadable(refusal.code, refusal.message)
    raise _ended(child.wait())


def _ended(code: int) -> Unreadable:
    """What it means that the child ended without a word."""
    if code == -signal.SIGXCPU:
        return Unreadable("timeout", "Reading the file takes longer than is allowed.")
    if code in {-signal.SIGKILL, -signal.SIGABRT, -signal.SIGXFSZ}:
        return Unreadable("resource_limit", "Reading the file takes more memory than is allowed.")
    return Unreadable("damaged", "The file is damaged: it ends the program that reads it.")


class _Frames:
    """Frames of a pipe, while time and bounds allow."""

    def __init__(self, pipe: IO[bytes], limits: Limits, cancelled: Callable[[], bool]) -> None:
        self._descriptor = pipe.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._cancelled = cancelled
        self._deadline = time.monotonic() + limits.seconds
        self._most = limits.characters * 8 + limits.attachments * 2 + (64 << 20)
        self._seconds = limits.seconds

    def next(self) -> tuple[bytes, bytes] | None:
        """The next frame; None when the child has ended. Raises Unreadable (`timeout`, `cancelled`, `too_large`)."""
        head = self._exactly(FRAME.size)
        if head is None:
            return None
        kind, length = FRAME.unpack(head)
        if length > self._most:
            raise Unreadable("too_large", "There is more in the file than is allowed.")
        data = self._exactly(length)
        return None if data is None else (kind, data)

    def _exactly(self, count: int) -> bytes | None:
        pieces = bytearray()
        while len(pieces) < count:
            self._wait()
            piece = os.read(self._descriptor, min(_PIECE, count - len(pieces)))
            if not piece:
                return None
            pieces += piece
        return bytes(pieces)

    def _wait(self) -> None:
        while True:
            if self._cancelled():
                raise Unreadable("cancelled", "Reading the file was cancelled.")
            remaining = self._deadline - time.monotonic()
            if remaining <= 0:
                raise Unreadable("timeout", f"Reading the file takes longer than {self._seconds:g} seconds.")
            if self._poll.poll(min(_POLL, remaining) * 1000):
                return
