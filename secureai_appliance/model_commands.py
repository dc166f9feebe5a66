"""What `secureai model import`, `load`, `unload`, `remove` do: ask the server, or work on the file when none runs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secureai_appliance.client import Client, model_path, server_url
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.governance.audit import on_command_line
from secureai_appliance.models import catalogue, changes, importing
from secureai_appliance.models.importing import Importer, ModelImport
from secureai_appliance.sending import bytes_bar
from secureai_appliance.settings import Settings
from secureai_appliance.store import ServeLock, Store

_PIECE = 4 * 1024 * 1024


def import_model(settings: Settings, key: str | None, file: Path, name: str | None, sha256: str | None) -> str:
    """Copy `file` into the import folder, with a bar, and have it imported; the new model's id.

    Raises StartupError or Failure; what was copied is taken away then. A file that lies in the folder is not copied.
    """
    folder = settings.data_folder
    if not folder.database.exists():
        raise StartupError(
            f"There is no appliance in {folder.root} yet. Start it once: secureai serve --data {folder.root}"
        )
    client = _client(settings, key)
    folder.create()
    with _in_import_folder(file, folder, sha256) as (placed, digest):
        body = ModelImport(file=placed.name, name=name, sha256=digest)
        if client is not None:
            fields: dict[str, Any] = {"file": body.file, "name": body.name, "sha256": body.sha256}
            return str(client.ask("POST", "/models", fields)["id"])
        from secureai_appliance.models.loading import loader

        with _alone(settings) as store:
            return Importer(store, folder, loader(settings)).run(body, actor=on_command_line("model import")).id


def remove_model(settings: Settings, key: str | None, name: str) -> None:
    """Remove an imported model and its file."""
    client = _client(settings, key)
    if client is not None:
        client.ask("DELETE", model_path(name))
        return
    with _alone(settings) as store:
        with store.transaction() as tx:
            row = catalogue.find(tx, name)
            changes.remove(tx, row, on_command_line("model remove"))
        importing.remove_file(settings.data_folder, row)


def ask_server(settings: Settings, key: str | None, name: str, action: str) -> str:
    """Load or unload a model of the running server; its status afterwards."""
    client = _client(settings, key)
    if client is None:
        raise StartupError("No server runs on this data folder, so that no model is in memory.")
    return str(client.ask("POST", model_path(name, action))["status"])


def _client(settings: Settings, key: str | None) -> Client | None:
    """The way to the server of this data folder; None when none runs."""
    return Client(server_url(settings), key) if ServeLock.is_held(settings.data_folder.lock) else None


@contextmanager
def _alone(settings: Settings) -> Iterator[Store]:
    """The file, while no server can start: it sweeps what an import has not finished."""
    from secureai_appliance.opening import open_store

    lock = ServeLock(settings.data_folder.lock)
    lock.acquire()
    try:
        store, _ = open_store(settings, SystemClock(), create=False)
        try:
            yield store
        finally:
            store.close()
    finally:
        lock.release()


@contextmanager
def _in_import_folder(file: Path, folder: DataFolder, sha256: str | None) -> Iterator[tuple[Path, str | None]]:
    """The file's place in the import folder, and the checksum that it must have there."""
    if file.absolute().parent == folder.import_:
        yield file.absolute(), sha256
        return
    placed = folder.import_ / file.name
    if placed.exists():
        raise StartupError(f"{placed} is there already: import that one, or delete it.")
    # a name that the server does not import, until the copy is whole
    part = folder.import_ / f".{os.urandom(4).hex()}.part"
    try:
        digest = _copy(file, part)
        if sha256 is not None and digest != sha256.lower():
            raise StartupError(f"The SHA-256 of {file} is {digest}: it is damaged, or another file.")
        part.rename(placed)
    except OSError as cause:
        raise StartupError(f"{file} can't be copied into {folder.import_}: {cause.strerror}.", EXIT_USAGE) from cause
    finally:
        part.unlink(missing_ok=True)
    try:
        yield placed, digest
    finally:
        # an import that went well has taken it out of the folder
        placed.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> str:
    size = source.stat().st_size
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise StartupError(f"{size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free on the disk.")
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing, bytes_bar() as progress:
        task = progress.add_task("copying", total=size)
        while piece := reading.read(_PIECE):
            writing.write(piece)
            digest.update(piece)
            progress.advance(task, len(piece))
        writing.flush()
        os.fsync(writing.fileno())
    return digest.hexdigest()
