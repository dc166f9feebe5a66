"""`secureai knowledge …`: files into a knowledge base of the running server, whole bases out and in, over HTTP."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from secureai_appliance.client import Client, Refused, server_url
from secureai_appliance.command_parts import boot_options
from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.core.ids import random_text
from secureai_appliance.sending import bytes_bar, send_file
from secureai_appliance.settings import Settings

WHOLE_BYTES = 16 * 1024 * 1024
"""Larger files are sent in parts: they need not fit into memory, nor into the bound of a form."""
_CONFLICT = 409
_BUSY = frozenset({429, 503})
_LOOK_SECONDS = 1.0
_WAITING = ("queued", "extracting", "embedding")


@dataclass
class Outcome:
    """What became of the files: ids of new documents, names that were there already, and what was wrong with others."""

    added: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@click.group()
def knowledge() -> None:
    """Fill, export and import knowledge bases of the running server."""


@knowledge.command("add")
@boot_options("data", "host", "port")
@click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")
@click.option("--url", default=None, help="Address of the server. Default: http://HOST:PORT.")
@click.option("--password", envvar="SECUREAI_DOCUMENT_PASSWORD", help="Opens encrypted files.")
@click.argument("base")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def add(
    chosen: Settings,
    *,
    key: str | None,
    url: str | None,
    password: str | None,
    base: str,
    paths: tuple[Path, ...],
) -> None:
    """Add files, and all files of folders, to BASE (its id or slug); waits until they can be found."""
    client = Client(url or server_url(chosen), key)
    files = list(files_in(paths))
    with _bar() as bar:
        sending = bar.add_task("sent", total=len(files), files=True)
        indexing = bar.add_task("indexed", total=len(files), files=True)
        outcome = send(client, base, files, lambda: bar.advance(sending), password=password, bar=bar)
        bar.update(indexing, total=len(outcome.added))
        follow(client, base, outcome, lambda done: bar.update(indexing, completed=done))
    for name in outcome.known:
        click.echo(f"{name}: is in the knowledge base already", err=True)
    for name, reason in outcome.failed.items():
        click.echo(f"{name}: {reason}", err=True)
    if outcome.failed:
        raise StartupError(f"{len(outcome.failed)} of {len(files)} files can't be found in the knowledge base.")


@knowledge.command("export")
@boot_options("data", "host", "port")
@click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")
@click.option("--url", default=None, help="Address of the server. Default: http://HOST:PORT.")
@click.argument("base")
@click.argument("file", type=click.Path(path_type=Path))
def export(chosen: Settings, *, key: str | None, url: str | None, base: str, file: Path) -> None:
    """Write BASE (its id or slug) to FILE, a zip: all documents, and how they are cut and embedded."""
    if file.exists():
        raise StartupError(f"{file} is there already.", EXIT_USAGE)
    client = Client(url or server_url(chosen), key)
    part = file.with_name(f".{file.name}.{random_text(6)}.part")
    try:
        with part.open("xb") as out, bytes_bar() as progress:
            task = progress.add_task("receiving", total=None)
            for piece in client.download(f"/knowledge/{quote(base, safe='')}/export"):
                out.write(piece)
                progress.advance(task, len(piece))
        with zipfile.ZipFile(part):
            part.rename(file)
    except zipfile.BadZipFile as cause:
        raise StartupError("What the server sent is not whole: a document was deleted meanwhile. Try again.") from cause
    except OSError as cause:
        raise StartupError(f"{file} can't be written: {cause.strerror}.", EXIT_USAGE) from cause
    finally:
        part.unlink(missing_ok=True)


@knowledge.command("import")
@boot_options("data", "host", "port")
@click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")
@click.option("--url", default=None, help="Address of the server. Default: http://HOST:PORT.")
@click.option("--name", help="What the new base is called. Default: as in the file.")
@click.option("--slug", help="Its slug. Default: as in the file, or made of --name.")
@click.option("--embedding-model", help="What it is embedded with. Default: as in the file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_(chosen: Settings, *, key: str | None, url: str | None, file: Path, **naming: str | None) -> None:
    """Make a knowledge base of FILE, which `knowledge export` has written; prints its id."""
    client = Client(url or server_url(chosen), key)
    with bytes_bar() as progress:
        upload = send_file(client, file, progress)
    click.echo(_import(client, upload, naming))


@knowledge.command("watch")
@boot_options("data", "host", "port")
@click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")
@click.option("--url", default=None, help="Address of the server. Default: http://HOST:PORT.")
@click.argument("base")
@click.argument("folder")
def watch(chosen: Settings, *, key: str | None, url: str | None, base: str, folder: str) -> None:
    """Have BASE filled from FOLDER, a folder of the server: what comes, changes and goes there does so in the base."""
    client = Client(url or server_url(chosen), key)
    client.ask("PUT", f"/knowledge/{quote(base, safe='')}/folder", {"path": folder})


@knowledge.command("unwatch")
@boot_options("data", "host", "port")
@click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")
@click.option("--url", default=None, help="Address of the server. Default: http://HOST:PORT.")
@click.argument("base")
def unwatch(chosen: Settings, *, key: str | None, url: str | None, base: str) -> None:
    """Fill BASE from its folder no more; the documents stay."""
    Client(url or server_url(chosen), key).ask("DELETE", f"/knowledge/{quote(base, safe='')}/folder")


def _import(client: Client, upload: str, naming: dict[str, str | None]) -> str:
    given = {name: value for name, value in naming.items() if value is not None}
    try:
        return str(client.ask("POST", "/knowledge/import", {"upload_id": upload, **given})["id"])
    except Refused as refusal:
        # anything else (a name that is taken) can be put right without sending it all again
        if refusal.details.get("field") == "file":
            client.ask("DELETE", f"/uploads/{upload}")
        raise


def files_in(paths: Sequence[Path]) -> Iterator[Path]:
    """Files as they are, those of folders in order of their names; hidden ones are left out."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for found in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
            if found.is_file() and not hidden:
                yield found


def send(
    client: Client,
    base: str,
    files: Sequence[Path],
    told: Callable[[], None],
    *,
    password: str | None = None,
    bar: Progress | None = None,
) -> Outcome:
    """Upload each file; what one is refused for holds up no other. Raises StartupError if no server answers."""
    outcome = Outcome()
    bar = bar or _bar()
    for file in files:
        try:
            outcome.added[_send(client, base, file, password, bar)] = str(file)
        except Refused as refused:
            if refused.status == _CONFLICT:
                outcome.known.append(str(file))
            elif refused.details.get("field") or refused.status in {413, 415}:
                outcome.failed[str(file)] = refused.message
            else:
                raise
        except OSError as cause:
            outcome.failed[str(file)] = f"can't be read: {cause.strerror}"
        told()
    return outcome


def follow(client: Client, base: str, outcome: Outcome, told: Callable[[int], None]) -> None:
    """Wait until none of the new documents is being read any more, and note those that could not be."""
    waiting = list(outcome.added)
    while waiting:
        shown = client.ask("GET", f"{_documents(base)}/{waiting[0]}")
        if shown["status"] in _WAITING:
            time.sleep(_LOOK_SECONDS)
            continue
        name = waiting.pop(0)
        if shown["status"] != "indexed":
            error = shown["error"] or {"message": shown["status"]}
            outcome.failed[outcome.added[name]] = error["message"]
        told(len(outcome.added) - len(waiting))


def _send(client: Client, base: str, file: Path, password: str | None, bar: Progress) -> str:
    if file.stat().st_size <= WHOLE_BYTES:
        return _send_whole(client, base, file, password)
    others = set(bar.task_ids)
    try:
        upload = send_file(client, file, bar)
    finally:
        for task in set(bar.task_ids) - others:
            bar.remove_task(task)
    try:
        return str(client.ask("POST", _documents(base), {"upload_id": upload, "password": password})["id"])
    except Refused:
        client.ask("DELETE", f"/uploads/{upload}")
        raise


def _send_whole(client: Client, base: str, file: Path, password: str | None) -> str:
    boundary = random_text(32)
    name = file.name.replace("\\", "_").replace('"', "_")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="password"\r\n\r\n{password}\r\n' if password else ""
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    while True:
        try:
            return str(client.send("POST", _documents(base), body, headers, timeout=None)["id"])
        except Refused as refused:
            if refused.status not in _BUSY:
                raise
            time.sleep(refused.retry_after or 1)


def _documents(base: str) -> str:
    return f"/knowledge/{quote(base, safe='')}/documents"


class _AmountColumn(ProgressColumn):
    """Files, or the bytes of one that is sent in parts."""

    def render(self, task: Task) -> Text:
        kind = MofNCompleteColumn() if task.fields.get("files") else DownloadColumn()
        return kind.render(task)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), _AmountColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
