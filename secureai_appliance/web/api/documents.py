"""`/knowledge/{id}/documents` and `/documents`: the same documents, by base and across bases."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.knowledge import bases, blobs, documents, reranking, search
from secureai_appliance.knowledge import chunks as listed
from secureai_appliance.knowledge.arrivals import Arrivals, FromUpload, IntoBase
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.chunks import Chunk
from secureai_appliance.knowledge.documents import Document, DocumentQuery, NewFile, Uploaded
from secureai_appliance.knowledge.passages import Found, SearchRequest
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web import multipart
from secureai_appliance.web.answers import Answer, Download
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match
from secureai_appliance.web.route import MB


class UploadForm(msgspec.Struct, kw_only=True):
    """One or more files; `password` opens encrypted ones."""

    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})]
    password: Annotated[str, Meta(max_length=1000)] | UnsetType = UNSET


class BaseUploadForm(UploadForm, kw_only=True):
    """The same, with the base that the files go into."""

    knowledge_base_id: str


_FIELDS = {"knowledge_base_id", "password"}


def index(request: Request[None, DocumentQuery]) -> Page[Document]:
    query = request.query
    if "id" in request.path:
        query = msgspec.structs.replace(query, knowledge_base_id=request.path["id"])
    with request.parts.store.read() as db:
        return documents.list_(db, request.caller, query)


def create(request: Request[FromUpload | None, None]) -> Uploaded:
    """A form with files, or JSON with an upload."""
    parts, body = request.parts, request.body
    if body is None:
        return _from_form(request)
    most = parts.configs.value("uploads.max_document_bytes")
    base_id = body.knowledge_base_id if isinstance(body, IntoBase) else request.path["id"]
    added = Arrivals(parts.store, parts.uploads, parts.sealer, most).add(request.caller, base_id, body)
    parts.ingest.wake()
    return Uploaded(**msgspec.structs.asdict(added), documents=[added])


def _from_form(request: Request[FromUpload | None, None]) -> Uploaded:
    """Files go into the store while they are read; they become documents together, at the end."""
    parts, caller = request.parts, request.caller
    found = ""
    if "id" in request.path:
        with parts.store.read() as db:
            found = bases.find(db, caller, request.path["id"], "write")
    files: list[NewFile] = []

    def begin(name: str, content_type: str) -> BlobWriter:
        if len(files) == documents.MOST_FILES:
            raise ValidationError(
                f"At most {documents.MOST_FILES} files at a time.", field="file", constraint="max_items"
            )
        files.append(NewFile(documents.plain_name(name), documents.plain_type(content_type), BlobWriter(parts.store)))
        return files[-1].blob

    try:
        fields = multipart.read(request.environ, parts.settings.max_upload * MB, begin)
        if unknown := sorted(set(fields) - _FIELDS):
            raise ValidationError(
                f"There is no field '{unknown[0][:100]}'.", field=unknown[0][:100], constraint="unknown"
            )
        base_id = fields.get("knowledge_base_id") or found
        if found and _differ(request, base_id, found):
            raise ValidationError(
                "The 'knowledge_base_id' field and the path name two knowledge bases.",
                field="knowledge_base_id",
                constraint="contradiction",
            )
        if not base_id:
            raise ValidationError(
                "The 'knowledge_base_id' field is required.", field="knowledge_base_id", constraint="required"
            )
        with parts.store.transaction() as tx:
            added = documents.add(tx, caller, base_id, files, sealer=parts.sealer, password=fields.get("password"))
    except BaseException:
        for file in files:
            file.blob.discard()
        raise
    parts.ingest.wake()
    return Uploaded(**msgspec.structs.asdict(added[0]), documents=added)


def _differ(request: Request[FromUpload | None, None], named: str, found: str) -> bool:
    with request.parts.store.read() as db:
        return bases.find(db, request.caller, named) != found


def show(request: Request[None, None]) -> Document:
    with request.parts.store.read() as db:
        return documents.get(db, request.caller, _document(request), request.path.get("id"))


def delete(request: Request[None, None]) -> None:
    document = documents.get(request.tx, request.caller, _document(request), request.path.get("id"), "write")
    require_match(request, document)
    documents.delete(request.tx, request.caller, document)


def reindex(request: Request[None, None]) -> Document:
    document = documents.get(request.tx, request.caller, _document(request), request.path.get("id"), "write")
    request.tx.after_commit(request.parts.ingest.wake)
    return documents.reindex(request.tx, request.caller, document)


def cancel(request: Request[None, None]) -> Document:
    document = documents.get(request.tx, request.caller, _document(request), request.path.get("id"), "write")
    return documents.cancel(request.tx, request.caller, document)


def content(request: Request[None, None]) -> Download:
    """The original: never shown in the browser, whatever it says it is."""
    store = request.parts.store
    with store.read() as db:
        document = documents.get(db, request.caller, _document(request), request.path.get("id"))
        blob_id = documents.blob(db, document.id)
    return Download(blobs.pieces(store, blob_id), "application/octet-stream", document.filename)


def chunks(request: Request[None, ListQuery]) -> Page[Chunk]:
    with request.parts.store.read() as db:
        document = documents.get(db, request.caller, _document(request), request.path.get("id"))
        return listed.list_(db, document, request.query)


def find(request: Request[SearchRequest, None]) -> Found | Answer:
    parts = request.parts
    try:
        return search.search(
            *(parts.store, parts.models, request.caller, [request.path["id"]], request.body),
            reranker=reranking.chosen(
                *(parts.store, parts.models, parts.configs.values(), request.body.rerank, request.body.top_k)
            ),
            abandoned=request.disconnected,
            used=request.has_read,
        )
    except Abandoned:
        return Answer(CLIENT_CLOSED_REQUEST)


def _document(request: Request[None, None] | Request[None, ListQuery]) -> str:
    return request.path["document_id"]
