"""A file on its way to a server in parts, which goes on where it stopped after whatever broke."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from secureai_appliance.client import Client, Refused, Unreachable
from secureai_appliance.core.errors import EXIT_USAGE, StartupError

_PART = 8 * 1024 * 1024
_WAITS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds before each further try of the same part."""
_ANSWER_SECONDS = 60.0
_LEAST_CHECKED_PER_SECOND = 20 * 1024 * 1024
"""Bytes of which the server makes the checksum when it has the last part, on a slow disk."""
_AGAIN = "The same command goes on where this one stopped."


def bytes_bar() -> Progress:
    """How far reading or sending a file is, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    # standard output is for the id alone
    return Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def send_file(
    client: Client,
    file: Path,
    progress: Progress,
    *,
    sha256: str | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Send `file` with a bar in `progress`; the upload's id.

    What an earlier command has sent of the same file is not sent again. A break is waited out for about a minute; what
    was sent by then is kept. Raises StartupError, also when `sha256` is not the file's.
    """
    # first, so that a wrong address or key is not found only after the file was read
    known = client.ask("GET", "/uploads?page_size=100")["data"]
    try:
        with file.open("rb") as source:
            size = file.stat().st_size
            digest = _digest(source, size, progress)
            if sha256 is not None and digest != sha256.lower():
                raise StartupError(f"The SHA-256 of {file} is {digest}: it is damaged, or another file.")
            announced = {"filename": file.name, "size": size, "sha256": digest}
            # one that an earlier command has begun, if there is one
            begun = [one for one in known if all(one[field] == announced[field] for field in announced)]
            upload = begun[0] if begun else client.ask("POST", "/uploads", announced)
            path = f"/uploads/{upload['id']}"
            _Sending(client, path, source, size, progress, pause).run(upload["offset"])
    except OSError as cause:
        raise StartupError(f"{file} can't be read: {cause.strerror}.", EXIT_USAGE) from cause
    return str(upload["id"])


def _digest(source: BinaryIO, size: int, progress: Progress) -> str:
    digest = hashlib.sha256()
    task = progress.add_task("reading", total=size)
    while piece := source.read(_PART):
        digest.update(piece)
        progress.advance(task, len(piece))
    return digest.hexdigest()


@dataclass
class _Sending:
    client: Client
    path: str
    source: BinaryIO
    size: int
    progress: Progress
    pause: Callable[[float], None]

    def run(self, offset: int) -> None:
        task = self.progress.add_task("sending", total=self.size, completed=offset)
        while offset < self.size:
            self.source.seek(offset)
            offset = self._patiently(offset, self.source.read(_PART))
            self.progress.update(task, completed=offset)

    def _patiently(self, offset: int, part: bytes) -> int:
        """Where the next part goes."""
        for wait in _WAITS:
            try:
                return self._send(offset, part)
            except Unreachable as broken:
                self.progress.console.print(f"{broken.message} Trying again.", soft_wrap=True)
                self.pause(wait)
            except Refused as refusal:
                if refusal.status not in {429, 503} and refusal.details.get("constraint") != "busy":
                    raise
                self.pause(refusal.retry_after or wait)
        try:
            return self._send(offset, part)
        except StartupError as failure:
            raise StartupError(f"{failure.message} {_AGAIN}", failure.exit_code) from failure

    def _send(self, offset: int, part: bytes) -> int:
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        is_last = offset + len(part) == self.size
        timeout = _ANSWER_SECONDS + (self.size / _LEAST_CHECKED_PER_SECOND if is_last else 0)
        try:
            return int(self.client.send("PATCH", self.path, part, headers, timeout=timeout)["offset"])
        except Refused as refusal:
            # the part before came through, only its answer did not
            if refusal.status == 409 and "offset" in refusal.details:
                return int(refusal.details["offset"])
            raise
