"""Documents from uploads: a large file comes in parts, and becomes a document once it is whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.errors import Conflict, NotFound, PayloadTooLarge, ServiceUnavailable
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.knowledge import bases, documents
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import Document, NewFile
from secureai_appliance.models import uploads
from secureai_appliance.models.uploads import UploadRow, Uploads
from secureai_appliance.store import Store

_PIECE = 4 * 1024 * 1024
Password = Annotated[str, Meta(max_length=1000)]


class FromUpload(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A complete upload that is to be a document; `password` opens an encrypted one."""

    upload_id: Annotated[str, Meta(min_length=1, max_length=100)]
    password: Password | None = None


class IntoBase(FromUpload, kw_only=True):
    """The same, with the base that it goes into."""

    knowledge_base_id: Annotated[str, Meta(min_length=1, max_length=100)]


@dataclass(frozen=True)
class Arrivals:
    """Where documents come from and go to. `most_bytes` is the bound of one."""

    store: Store
    uploads: Uploads
    sealer: Sealer
    most_bytes: int

    def add(self, caller: Caller, base_id: str, body: FromUpload) -> Document:
        """Make a document of an upload, which is gone then.

        1. The bytes go from the upload's file into the store, piece by piece. 2. Document and upload change places in
        one transaction: a crash before it leaves the upload as it was, and pieces that are swept.

        Raises NotFound, PermissionDenied, PayloadTooLarge, Conflict for an upload that is not complete or bytes that
        are in the base, ServiceUnavailable.
        """
        with self.store.read() as db:
            bases.find(db, caller, base_id, "write")
            upload = uploads.find(db, caller, body.upload_id)
            documents.refuse_known(db, bases.find(db, caller, base_id), upload.sha256)
        require_complete(upload)
        if upload.size > self.most_bytes:
            raise too_large(upload.size, self.most_bytes)
        file = NewFile(upload.filename, "", copied(self.store, self.uploads.path(upload)))
        try:
            with self.store.transaction() as tx:
                uploads.remove(tx, caller, uploads.find(tx, caller, upload.id))
                (added,) = documents.add(tx, caller, base_id, [file], sealer=self.sealer, password=body.password)
        except BaseException:
            file.blob.discard()
            raise
        self.uploads.discard(upload)
        return added


def require_complete(upload: UploadRow) -> None:
    """Raise Conflict for an upload of which parts are missing."""
    if upload.offset < upload.size:
        raise Conflict("The upload is not complete.", constraint="incomplete", details={"offset": upload.offset})


def too_large(size: int, most: int) -> PayloadTooLarge:
    """The error for a document beyond the bound."""
    return PayloadTooLarge(f"The file has {size} bytes; a document may have {most}.", details={"max_bytes": most})


def copied(store: Store, path: Path) -> BlobWriter:
    """A file's bytes as a blob. Raises NotFound when the file is gone, ServiceUnavailable when it can't be read."""
    blob = BlobWriter(store)
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                blob.write(piece)
    except FileNotFoundError as cause:
        raise NotFound("There is no such upload.") from cause
    except OSError as cause:
        raise ServiceUnavailable("The upload can't be read from the disk.", retry_after=60) from cause
    return blob
