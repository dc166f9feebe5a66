"""Importing a GGUF that lies in the data folder's `import` folder."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from secureai_appliance.core.errors import (
    Conflict,
    Failure,
    NotFound,
    ServiceUnavailable,
    UnprocessableEntity,
    ValidationError,
)
from secureai_appliance.core.paths import DataFolder, flush_to_disk
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.inference.gguf import GgufInfo, read_gguf
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import Alias, ModelRow, Name, NewModel
from secureai_appliance.models.registry import Loader
from secureai_appliance.models.remote import RemoteCreate
from secureai_appliance.store import Store, Transaction

log = logging.getLogger(__name__)

_PIECE = 4 * 1024 * 1024


class ModelImport(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A model to add: a `file` that lies in the `import` folder, an upload that is complete, or a `remote` one.

    `name` becomes the model's id; without it, one is made from the file's name, or the model's on the other server.
    `sha256`: what the file must have.
    """

    file: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    upload_id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    remote: RemoteCreate | None = None
    name: Name | None = None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}(?!\s)$")] | None = None
    aliases: Annotated[list[Alias], Meta(max_length=100)] = []


@dataclass(frozen=True)
class Uploaded:
    """A file that came in parts. `taken` is called in the transaction that enters the model: both or neither."""

    path: Path
    taken: Callable[[Transaction], None]


class Abandoned(Exception):
    """Nobody waits for the import any more; nothing was changed."""


@dataclass(frozen=True)
class Importer:
    """Where files come from and go to, and what tries them."""

    store: Store
    folder: DataFolder
    loader: Loader

    def run(
        self,
        body: ModelImport,
        abandoned: Callable[[], bool] = lambda: False,
        actor: Actor = SYSTEM,
        uploaded: Uploaded | None = None,
    ) -> ModelRow:
        """Import a file; takes as long as reading it once. `abandoned` is asked meanwhile, see Abandoned.
        The bytes of `body.file` are those of `uploaded`, if it is given.

        1. The names are looked at, so that a taken one costs nothing; then the header; then the checksum.
        2. A child process loads the file and computes a token.
        3. The file gets its second name in `models/imported`, and only when that is on disk, its row.
        4. Its first name goes. A crash before the row leaves the file in `import` and a name that the next start
           sweeps; one after it leaves a second name for the same bytes.

        Raises NotFound, ValidationError, Conflict (a name, the file itself), UnprocessableEntity (what is wrong).
        """
        if body.file is None:
            raise ValidationError("The 'file' field is required.", field="file", constraint="required")
        source = uploaded.path if uploaded else self._source(body.file)
        model_id = body.name or id_from(body.file)
        with self.store.read() as db:
            for name in (model_id, *body.aliases):
                if name != catalogue.DEFAULT:
                    catalogue.refuse_taken(db, name)
        with _open(source) as file:
            before = os.fstat(file.fileno())
            info = _describe(source)
            digest = _checksum(file, abandoned)
            if body.sha256 is not None and digest != body.sha256.lower():
                raise UnprocessableEntity(
                    f"The file's SHA-256 is {digest}: it is damaged, or another file.",
                    field="sha256",
                    constraint="checksum",
                )
            with self.store.read() as db:
                catalogue.refuse_known(db, digest)
            reason = self.loader.probe(source, info.kind)
            if reason is not None:
                raise UnprocessableEntity(f"The model can't be used: {reason}", field="file", constraint="model")
            # the row must not reach the disk before the bytes do
            os.fsync(file.fileno())
            model = NewModel(model_id, info.kind, "", digest, info, self.loader.build())

            def enter(tx: Transaction, file: str) -> ModelRow:
                if uploaded is not None:
                    uploaded.taken(tx)
                return catalogue.add(tx, dataclasses.replace(model, file=file), body.aliases, actor)

            return self._place(source, before, model_id, enter)

    def _place(
        self, source: Path, before: os.stat_result, model_id: str, enter: Callable[[Transaction, str], ModelRow]
    ) -> ModelRow:
        target = self.folder.imported / f"{model_id}.{os.urandom(4).hex()}.gguf"
        try:
            _second_name(source, target)
            if not _same(before, source.lstat()):
                raise Conflict("The file was changed while it was imported.", constraint="changed")
            flush_to_disk(self.folder.imported)
            relative = str(target.relative_to(self.folder.models))
            with self.store.transaction() as tx:
                row = enter(tx, relative)
        except OSError as cause:
            target.unlink(missing_ok=True)
            raise _storage_failure(cause) from cause
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        try:
            source.unlink(missing_ok=True)
        except OSError as cause:
            log.warning("%s was imported and can't be removed: %s", source.name, cause)
        log.info("the model %s was imported", row.id)
        return row

    def _source(self, name: str) -> Path:
        """The file's path. One plain name: nothing outside the folder can be reached, nor half-made copies."""
        if name != Path(name).name or name.startswith(".") or not name.isprintable():
            raise ValidationError(
                "The 'file' field must be the name of a file in the import folder, without a path.",
                field="file",
                constraint="format",
            )
        return self.folder.import_ / name


def sweep(store: Store, folder: DataFolder) -> None:
    """At start: names in `models/imported` that no model has, left by an import or a removal that was interrupted."""
    with store.read() as db:
        known = {folder.models / row.file for row in catalogue.all_models(db)}
    for path in folder.imported.iterdir():
        if path not in known:
            log.info("removing %s, which belongs to no model", path.name)
            path.unlink()


def remove_file(folder: DataFolder, row: ModelRow) -> None:
    """Delete the file of a model whose row is gone. What can't be deleted now goes at the next start."""
    if row.source == "remote":
        return
    try:
        (folder.models / row.file).unlink(missing_ok=True)
    except OSError as cause:
        log.warning("the file of the model %s can't be deleted: %s", row.id, cause)


def id_from(file: str) -> str:
    """A model's id from the name of a file, or what another server calls it. Raises ValidationError."""
    stem = file[: -len(".gguf")] if file.lower().endswith(".gguf") else file
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:100]
    if not name:
        raise ValidationError("No name can be made from the file's: give one.", field="name", constraint="required")
    return name


def _open(path: Path) -> BinaryIO:
    try:
        # a link could lead out of the folder, a pipe would be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as cause:
        if cause.errno == errno.ELOOP:
            raise _no_file(path) from cause
        if isinstance(cause, FileNotFoundError):
            raise NotFound(f"There is no file '{path.name}' in the import folder.", param="file") from cause
        raise UnprocessableEntity(f"The file can't be read: {cause.strerror}.", field="file") from cause
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return os.fdopen(descriptor, "rb")


def _no_file(path: Path) -> UnprocessableEntity:
    return UnprocessableEntity(f"'{path.name}' is no plain file.", field="file", constraint="file")


def _describe(path: Path) -> GgufInfo:
    try:
        return read_gguf(path)
    except ValueError as cause:
        raise UnprocessableEntity(str(cause), field="file", constraint="gguf") from cause
    except OSError as cause:
        raise UnprocessableEntity(f"The file can't be read: {cause.strerror}.", field="file") from cause


def _checksum(file: BinaryIO, abandoned: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        if abandoned():
            raise Abandoned
        digest.update(piece)
    return digest.hexdigest()


def _second_name(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as cause:
        if cause.errno not in {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK}:
            raise
        # another file system, or one without second names
        shutil.copyfile(source, target, follow_symlinks=False)
        flush_to_disk(target)


def _same(before: os.stat_result, now: os.stat_result) -> bool:
    return (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns) == (
        *(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns),
    )


def _storage_failure(cause: OSError) -> Failure:
    if isinstance(cause, FileNotFoundError):
        return Conflict("The file went away while it was imported.", constraint="changed")
    full = cause.errno in {errno.ENOSPC, errno.EDQUOT}
    return ServiceUnavailable(
        "The disk of the data folder is full." if full else "The model can't be put into the data folder.",
        retry_after=60,
    )
