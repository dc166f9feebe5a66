"""`/knowledge/{id}/export` and `/knowledge/import`: whole bases as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

from msgspec import Meta

from secureai_appliance.core import decoding
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.governance import audit
from secureai_appliance.knowledge import archive, bases
from secureai_appliance.knowledge.archive import TYPE
from secureai_appliance.knowledge.arrivals import require_complete
from secureai_appliance.knowledge.bases import KnowledgeBase
from secureai_appliance.knowledge.unpacking import Abandoned, Naming, Unpacking
from secureai_appliance.models import uploads
from secureai_appliance.store import Transaction
from secureai_appliance.web import multipart
from secureai_appliance.web.answers import Answer, Download
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request
from secureai_appliance.web.route import MB

__all__ = ["TYPE", "ImportForm", "ImportUpload", "create", "export"]


class ImportUpload(Naming, forbid_unknown_fields=True, kw_only=True):
    """An upload that is an export, and what is to be other than in it."""

    upload_id: Annotated[str, Meta(min_length=1, max_length=100)]


class ImportForm(Naming, forbid_unknown_fields=True, kw_only=True):
    """The same as a form with the file itself."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


def export(request: Request[None, None]) -> Download:
    """The answer is made while it is sent; that it was asked for is in the audit log before."""
    store = request.parts.store
    with store.read() as db:
        base = bases.get(db, request.caller, request.path["id"])
    with store.transaction() as tx:
        details: audit.Details = {"documents": base.document_count}
        audit.record(tx, request.caller.actor, "knowledge.exported", "knowledge_base", base.id, details=details)
    return Download(archive.pieces(store, base, request.parts.clock.now()), TYPE, f"{base.slug}.zip")


def create(request: Request[ImportUpload | None, None]) -> KnowledgeBase | Answer:
    try:
        return _from_form(request) if request.body is None else _from_upload(request, request.body)
    except Abandoned:
        return Answer(CLIENT_CLOSED_REQUEST)


def _from_upload(request: Request[ImportUpload | None, None], body: ImportUpload) -> KnowledgeBase:
    parts, caller = request.parts, request.caller
    with parts.store.read() as db:
        upload = uploads.find(db, caller, body.upload_id)
    require_complete(upload)

    def taken(tx: Transaction) -> None:
        uploads.remove(tx, caller, uploads.find(tx, caller, upload.id))

    made = _unpack(request, body, parts.uploads.path(upload), taken)
    parts.uploads.discard(upload)
    return made


def _from_form(request: Request[ImportUpload | None, None]) -> KnowledgeBase:
    parts = request.parts
    with NamedTemporaryFile(dir=parts.data.tmp) as file:
        found = 0

        def begin(name: str, content_type: str) -> multipart.Sink:
            nonlocal found
            found += 1
            if found > 1:
                raise ValidationError("One file at a time is imported.", field="file", constraint="max_items")
            return file

        fields = multipart.read(request.environ, parts.settings.max_upload * MB, begin)
        file.flush()
        if not found:
            raise ValidationError("The 'file' field is required.", field="file", constraint="required")
        naming = decoding.convert(fields, Naming, decoding.FIELD)
        return _unpack(request, naming, Path(file.name))


def _unpack(
    request: Request[ImportUpload | None, None],
    naming: Naming,
    path: Path,
    taken: Callable[[Transaction], None] = lambda tx: None,
) -> KnowledgeBase:
    parts = request.parts
    most = parts.configs.value("uploads.max_document_bytes")
    made = Unpacking(parts.store, request.caller, naming, most, taken, request.disconnected).run(path)
    parts.ingest.wake()
    return made
