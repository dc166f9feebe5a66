"""Remote models whose server is scripted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.running import Response, Running
from tests.support.scripted import Heard, Line, Scripted, scripted

SECRET = "canary-key-of-the-other-server"


def add(api: Running, base_url: str, name: str, **remote: Any) -> Response:
    return api.ask("POST", "/api/v1/models", {"name": name, "remote": {"base_url": base_url, "model": "m", **remote}})


def listing(_: Heard, line: Line) -> None:
    line.answer_json(200, {"data": [{"id": "m"}]})


def chunk(text: str, **fields: Any) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **fields}


@contextmanager
def far_model(api: Running) -> Iterator[Scripted]:
    """The server of the remote model `far`, which has one slot."""
    with scripted(listing) as server:
        made = add(api, server.url + "/v1/", "far", api_key=SECRET, headers={"X-Team": SECRET}, slots=1)
        assert made.status == 201, made.body
        yield server
        assert api.ask("DELETE", "/api/v1/models/far").status == 204


def calmed(server: Scripted) -> Scripted:
    """The server, without what the test before has left."""
    server.heard.clear()
    while server.ended.acquire(blocking=False):
        continue
    return server
