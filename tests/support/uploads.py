"""Files sent in parts, for tests."""

from __future__ import annotations

import hashlib

from secureai_appliance.models.uploads import MAX_PART
from tests.support.running import Running

PART = {"Content-Type": "application/offset+octet-stream"}


def begin_upload(api: Running, data: bytes, name: str = "a.txt", *, key: str = "") -> str:
    """The id of an upload that was announced."""
    body = {"filename": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    made = api.ask("POST", "/api/v1/uploads", body, key=key)
    assert made.status == 201, made.body
    return str(made.json["id"])


def whole_upload(api: Running, data: bytes, name: str = "a.txt", *, key: str = "") -> str:
    """The id of a complete one."""
    upload = begin_upload(api, data, name, key=key)
    for offset in range(0, len(data), MAX_PART):
        headers = {**PART, "Upload-Offset": str(offset)}
        path, part = f"/api/v1/uploads/{upload}", data[offset : offset + MAX_PART]
        assert api.ask("PATCH", path, part, key=key, headers=headers).status == 200
    return upload
