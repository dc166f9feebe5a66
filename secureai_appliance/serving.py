"""`secureai serve`: start, say where to go, wait for a signal, stop."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TextIO

from secureai_appliance.appliance import ADMIN_EMAIL, Appliance, FirstStart
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.settings import Settings

# bounded: one answer in some hundreds of the bundled model has no end, and whoever tries it first should not get that
_MESSAGE = (
    """{"model": "gpt-4", "max_tokens": 500, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}"""
)


def serve(settings: Settings) -> NoReturn:
    """Run until SIGTERM or SIGINT, then end the process: with 0, or 1 when the server ended by an error.

    Raises StartupError when it can't start.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    stop = _Stop()
    appliance = Appliance(settings, SystemClock())
    appliance.start(stop.ask)
    welcome(appliance.address, settings.data_folder, appliance.first_start, sys.stdout)
    stop.wait()
    appliance.stop()
    _leave(1 if appliance.failed else 0)


class _Stop:
    """Waits for SIGTERM, SIGINT or `ask`.

    A pipe, into which the interpreter itself writes when a signal comes. Python's own handlers run between two steps
    of the main thread: one that comes when it is about to wait for a lock would be heard when that is released, never.
    """

    def __init__(self) -> None:
        self._heard, self._asked = os.pipe()
        os.set_blocking(self._asked, False)
        signal.set_wakeup_fd(self._asked, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the default would end the process

    def ask(self) -> None:
        """From any thread; more than once is once."""
        with suppress(BlockingIOError):  # full: asked for long ago
            os.write(self._asked, b"\0")

    def wait(self) -> None:
        os.read(self._heard, 1)


def _leave(code: int) -> NoReturn:
    """End the process at once. Everything is stored and closed by now, but for what could not be ended in time.

    A thread may still be inside llama.cpp, reading a model or computing a step: the ordinary end of the interpreter
    would free what it uses, and the process would end by a segmentation fault.
    """
    logging.shutdown()
    with suppress(OSError):  # nobody reads it any more
        sys.stdout.flush()
    os._exit(code)


def welcome(address: str, folder: DataFolder, first: FirstStart | None, out: TextIO) -> None:
    """Print where to go. What the first start made is shown to a terminal, else left in a file for the owner alone."""
    print(f"SecureAI Appliance is ready at {address}", file=out)
    print(f"  API documentation: {address}/docs", file=out)
    if first is None:
        print(
            f"  Make an API key:   secureai key create --user {ADMIN_EMAIL} --name NAME --data {folder.root}", file=out
        )
    elif out.isatty():
        _show_first(address, first, first.key, out)
    else:
        _write_secret_file(folder.first_start, first, address)
        print(f"  The first API key and a sign-in link are in {folder.first_start}", file=out)
        _show_curl(address, f"$(sed -n 's/^API key: //p' {shlex.quote(str(folder.first_start))})", out)
    out.flush()


def _show_first(address: str, first: FirstStart, key: str, out: TextIO) -> None:
    print(f"  Sign in (once):    {address}/sign-in/{first.link_token}", file=out)
    print(f"  API key:           {first.key}", file=out)
    print("  Neither is shown again. Try it:", file=out)
    _show_curl(address, key, out)


def _show_curl(address: str, key: str, out: TextIO) -> None:
    print(file=out)
    print(f'curl {address}/api/v1/chat/completions -H "Authorization: Bearer {key}" \\', file=out)
    print(f"  -H 'Content-Type: application/json' -d '{_MESSAGE}'", file=out)
    print(file=out)


def _write_secret_file(path: Path, first: FirstStart, address: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"API key: {first.key}\nSign in (once): {address}/sign-in/{first.link_token}\n")
        file.write("This file is deleted at the first sign-in.\n")
