"""What `secureai model import --url` does: send a file in parts, and have it imported."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from secureai_appliance.client import Client, Refused
from secureai_appliance.sending import bytes_bar, send_file


def upload_model(
    url: str,
    key: str | None,
    file: Path,
    name: str | None,
    sha256: str | None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Send `file` to the server at `url`, with a bar, and have it imported; the new model's id.

    What the server finds to be no model is taken away there. Raises StartupError.
    """
    client = Client(url, key)
    with bytes_bar() as progress:
        upload_id = send_file(client, file, progress, sha256=sha256, pause=pause)
    return _import(client, upload_id, name)


def _import(client: Client, upload_id: str, name: str | None) -> str:
    try:
        return str(client.ask("POST", "/models", {"upload_id": upload_id, "name": name})["id"])
    except Refused as refusal:
        # anything else (a name that is taken) can be put right without sending it all again
        if refusal.status == 422:
            client.ask("DELETE", f"/uploads/{upload_id}")
        raise
