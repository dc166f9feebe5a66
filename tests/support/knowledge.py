"""Documents for tests of knowledge: uploads over HTTP, and an end to the waiting."""

from __future__ import annotations

import time
from typing import Any

from secureai_appliance.core.ids import random_text
from secureai_appliance.store import Transaction
from tests.support.models import EMBEDDING
from tests.support.running import PATIENCE, Response, Running

BOUNDARY = "----tests"


MODEL = "all-minilm-l6-v2"


def add_embedding_model(tx: Transaction) -> str:
    """Enter the bundled embedding model into an empty file; its id."""
    tx.run(
        "INSERT INTO models (id, kind, file, sha256, size_bytes, owned_by, license, architecture, context_length,"
        " parameters, quantization, source, created_at, updated_at)"
        " VALUES (?, 'embedding', ?, '', 1, 'test', NULL, 'bert', 512, 1, 'Q8_0', 'bundled', 0, 0)",
        *(MODEL, EMBEDDING.name),
    )
    return MODEL


def form(*files: tuple[str, bytes, str], **fields: str) -> bytes:
    """A form of files (name, bytes, content type) and fields."""
    body = b""
    for name, value in fields.items():
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, data, kind in files:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body += f"{head}Content-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def upload_file(
    api: Running,
    path: str,
    text: str | bytes = "",
    name: str = "a.txt",
    kind: str = "text/plain",
    *,
    key: str = "",
    **fields: str,
) -> Response:
    """Upload one file; without a text, one that no other has."""
    data = text.encode() if isinstance(text, str) else text
    return upload_form(api, path, form((name, data or random_text(40).encode(), kind), **fields), key=key)


def upload_form(api: Running, path: str, body: bytes, **options: Any) -> Response:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **options.pop("headers", {})}
    return api.ask("POST", path, body, headers=headers, **options)


def settled(api: Running, path: str, key: str = "") -> Any:
    """The document at `path` once nothing more happens to it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shown = api.ask("GET", path, key=key).json
        if shown["status"] not in {"queued", "extracting", "embedding"}:
            return shown
        time.sleep(0.02)
    raise AssertionError(f"{path} is still {shown['status']}")


def ready(api: Running, base: str, key: str = "") -> Any:
    """The base at `base` once all of its documents are through."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shown = api.ask("GET", base, key=key).json
        if shown["status"] == "ready":
            return shown
        time.sleep(0.02)
    raise AssertionError(f"{base} is still {shown['status']}")
