"""`/uploads`: large files in parts."""

from __future__ import annotations

import msgspec

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.models import uploads
from secureai_appliance.models.uploads import Bounds, Upload, UploadCreate
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import etag, require_match

OFFSET = "Upload-Offset"


def index(request: Request[None, ListQuery]) -> Page[Upload]:
    with request.parts.store.read() as db:
        return uploads.list_(db, request.caller, request.query)


def create(request: Request[UploadCreate, None]) -> Upload:
    parts = request.parts
    values = parts.configs.values()
    # who may not import models sends documents
    most = "uploads.max_bytes" if request.caller.may("models:write") else "uploads.max_document_bytes"
    bounds = Bounds(values[most], values["uploads.open_per_user"])
    return uploads.show(uploads.create(request.tx, parts.data, bounds, request.caller, request.body))


def show(request: Request[None, None]) -> Answer:
    with request.parts.store.read() as db:
        shown = uploads.show(uploads.find(db, request.caller, request.path["id"]))
    answer = _with_offset(shown)
    answer.headers["ETag"] = etag(answer.body)
    return answer


def append(request: Request[None, None]) -> Answer:
    """`PATCH`: one part. Not in one transaction with the bytes: those are files."""
    with request.parts.store.read() as db:
        row = uploads.find(db, request.caller, request.path["id"])
    require_match(request, uploads.show(row))
    return _with_offset(uploads.show(request.parts.uploads.append(request.caller, row, _offset(request), request.raw)))


def delete(request: Request[None, None]) -> None:
    with request.parts.store.transaction() as tx:
        row = uploads.find(tx, request.caller, request.path["id"])
        require_match(request, uploads.show(row))
        uploads.remove(tx, request.caller, row)
    request.parts.uploads.discard(row)


def _offset(request: Request[None, None]) -> int:
    text: str = request.environ.get("HTTP_UPLOAD_OFFSET", "")
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ValidationError(
            f"The header '{OFFSET}' must say where the part begins.", field=OFFSET, constraint="required"
        )
    return int(text)


def _with_offset(shown: Upload) -> Answer:
    return Answer(body=msgspec.json.encode(shown), headers={OFFSET: str(shown.offset)})
