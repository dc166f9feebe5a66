"""`secureai doctor`: looks at everything that can go wrong on a server and says what to do.

It changes nothing and works whether the appliance runs or not.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from secureai_appliance.core.clock import Clock, rfc3339
from secureai_appliance.core.errors import Failure, NotFound, StartupError
from secureai_appliance.governance.configs import Configs
from secureai_appliance.inference.gguf import Kind
from secureai_appliance.inference.library import cpu_variant
from secureai_appliance.inference.probe import probe
from secureai_appliance.models import catalogue
from secureai_appliance.opening import open_store
from secureai_appliance.settings import Settings
from secureai_appliance.store import ServeLock, Store

# a server without internet has no time service: a clock before this program was made is certainly wrong
_PROGRAM_MADE = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
_CLOCK_SLACK = 24 * 3600
_LEAST_FREE = 1 << 30
_CHOSEN: dict[str, Kind] = {"knowledge.embedding_model": "embedding", "knowledge.rerank_model": "rerank"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `message` says how it is or, when it is not well, what to do."""

    subject: str
    ok: bool
    message: str


def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Look at everything. A check that fails does not keep the others from running."""
    findings = [
        _attempt("data folder", lambda: _folder(settings)),
        _attempt("disk", lambda: _disk(settings)),
        _attempt("temporary files", _temporary_files),
        _attempt("processor", lambda: Finding("processor", True, f"models run with {cpu_variant()}")),
        _attempt("port", lambda: _port(settings)),
    ]
    try:
        store, sealer = open_store(settings, clock, create=False)
    except StartupError as error:
        return [*findings, Finding("file", False, error.message), _clock(clock, None)]
    try:
        return [*findings, *_of_the_file(settings, clock, store, Configs(store, sealer))]
    finally:
        store.close()


def _of_the_file(settings: Settings, clock: Clock, store: Store, configs: Configs) -> list[Finding]:
    with store.read() as db:
        rows = [row for row in catalogue.all_models(db) if row.remote is None]
        last_time = db.value("SELECT last_time FROM instance")
    return [
        _attempt("file", lambda: _file(settings, store)),
        _clock(clock, last_time),
        Finding("backup", True, f"a backup needs {settings.data_folder.database} and {settings.master_key}, both"),
        *[_attempt(f"model {row.id}", partial(_model, settings, row)) for row in rows],
        *[_attempt(key, partial(chosen_model, store, configs, key)) for key in _CHOSEN],
    ]


def _attempt(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (StartupError, Failure) as error:
        return Finding(subject, False, error.message)
    except OSError as error:
        return Finding(subject, False, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))


def _folder(settings: Settings) -> Finding:
    root = settings.data_folder.root
    if not root.is_dir():
        return Finding("data folder", False, f"{root} is not there yet: secureai serve makes it")
    mode = stat.S_IMODE(root.stat().st_mode)
    if mode & 0o077:
        return Finding("data folder", False, f"others can look into {root} (mode {mode:o}): chmod 700 {root}")
    if not os.access(root, os.W_OK):
        return Finding("data folder", False, f"{root} can't be written by this user: chown it, or use --data")
    return Finding("data folder", True, f"{root}, for its owner alone")


def _disk(settings: Settings) -> Finding:
    root = settings.data_folder.root
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < _LEAST_FREE:
        return Finding("disk", False, f"only {free / 2**30:.1f} GiB free under {existing}: make room")
    return Finding("disk", True, f"{free / 2**30:.1f} GiB free")


def _temporary_files() -> Finding:
    """The binary unpacks itself into the temporary folder, which must allow programs to run from it."""
    folder = Path(tempfile.gettempdir())
    if os.statvfs(folder).f_flag & os.ST_NOEXEC and getattr(sys, "frozen", False):
        return Finding(
            "temporary files", False, f"{folder} is mounted noexec: start with TMPDIR set to a folder that is not"
        )
    return Finding("temporary files", True, f"{folder}")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    if ServeLock.is_held(settings.data_folder.lock):
        connection = http.client.HTTPConnection(settings.host, settings.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        except OSError:
            return Finding("port", True, f"the appliance runs, but not on {where} (say which with --port)")
        finally:
            connection.close()
        return Finding("port", status == 200, f"the appliance answers on {where} with {status}")
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe_socket:
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("port", False, f"{where} can't be used ({error.strerror}): choose another with --port")
    return Finding("port", True, f"{where} is free")


def _file(settings: Settings, store: Store) -> Finding:
    problems = store.integrity(quick=True)
    if problems:
        return Finding("file", False, f"{settings.data_folder.database} is damaged ({problems[0]}): restore a backup")
    return Finding("file", True, f"{settings.data_folder.database} is sound")


def _clock(clock: Clock, last_time: int | None) -> Finding:
    now = clock.now()
    if now < _PROGRAM_MADE:
        return Finding("clock", False, f"it says {rfc3339(now)}, before this program was made: set it (date -s)")
    if last_time is not None and last_time > now + _CLOCK_SLACK:
        return Finding(
            "clock",
            False,
            f"it says {rfc3339(now)}, but the last write was at {rfc3339(last_time)}: one of them was wrong; set it",
        )
    return Finding("clock", True, rfc3339(now))


def _model(settings: Settings, row: catalogue.ModelRow) -> Finding:
    subject = f"model {row.id}"
    path = settings.data_folder.models / row.file
    if not path.is_file():
        return Finding(subject, False, f"{path} is missing: {_remedy(row)}")
    if path.stat().st_size != row.size_bytes:
        return Finding(subject, False, f"{path} has not its size: delete it; {_remedy(row)}")
    result = probe(path, row.kind)
    return Finding(
        subject, result.ok, f"answers, {result.seconds:.1f} s" if result.ok else result.reason or "it can't be loaded"
    )


def chosen_model(store: Store, configs: Configs, key: str) -> Finding:
    """Whether the model that a setting names is there, and is one for its purpose."""
    name = configs.value(key)
    if not name:
        return Finding(key, True, "no model is chosen")
    remedy = f"secureai config set {key} NAME"
    try:
        with store.read() as db:
            row = catalogue.find(db, name)
    except NotFound:
        return Finding(key, False, f"there is no model '{name}': {remedy}")
    kind = _CHOSEN[key]
    if row.kind != kind:
        return Finding(key, False, f"the model '{name}' is of the kind {row.kind}, not {kind}: {remedy}")
    return Finding(key, True, row.id)


def _remedy(row: catalogue.ModelRow) -> str:
    if row.source == "bundled":
        return "secureai serve puts it back"
    return f"secureai model remove {row.id}, then import it again"
