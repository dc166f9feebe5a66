"""The process that reads a file: it can do little else, and says its outcome on standard output."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from secureai_appliance.knowledge.extract.extracted import Limits, Unreadable
from secureai_appliance.knowledge.extract.reading import extract
from secureai_appliance.knowledge.extract.worker import DONE, FRAME, PROGRESS, REFUSED, Refusal, Task

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_NICENESS = 10
_PROGRESS_EVERY = 0.2
# what a document makes a library do to the world outside; reading files is left
_REFUSED = ("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.fork", "os.system", "os.remove", "os.rename")


def main(arguments: list[str]) -> int:
    """Read the task from standard input, answer in frames."""
    out = _private_output()
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    confine(task.limits)
    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > _PROGRESS_EVERY:
            told = time.monotonic()
            _say(out, PROGRESS, share)

    try:
        found = extract(
            Path(task.path), task.filename, task.content_type, task.password, limits=task.limits, on_progress=progress
        )
        _say(out, DONE, found)
    except Unreadable as failure:
        _say(out, REFUSED, Refusal(failure.code, failure.message))
    except MemoryError:
        _end_for_memory(out)
    return 0


def confine(limits: Limits) -> None:
    """Bounds of this process from here on: memory, processor, no network, no other programs, nothing written."""
    library = ctypes.CDLL(None, use_errno=True)
    # killed, the appliance can't end its child any more
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # a network of its own with nobody in it; not every kernel lets an ordinary user have one
    library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    # openpyxl takes numpy along if it is there: a hundred megabytes for nothing
    sys.modules["numpy"] = None  # type: ignore[assignment]
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED):
        raise PermissionError(f"{event} is not for documents")


def _private_output() -> int:
    """The pipe under another number: what libraries print goes nowhere."""
    out = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return out


def _say(out: int, kind: bytes, value: object) -> None:
    data = msgspec.msgpack.encode(value)
    for piece in (FRAME.pack(kind, len(data)), data):
        view = memoryview(piece)
        while view:
            view = view[os.write(out, view) :]


def _end_for_memory(out: int) -> NoReturn:
    """There may not be enough left to say so; being killed says it too."""
    os.close(out)
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit
