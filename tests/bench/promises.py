"""The times that the promises name, on the real server with made-up streams."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from secureai_appliance.settings import Settings
from tests.support.clock import FakeClock
from tests.support.web import App, app_on
from tests.support.web_client import Client, request_bytes, serving
from tests.support.web_routes import HeldSource

ROUNDS = 50
PLACES = 64


def talk(app: App) -> bytes:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true}'
    return request_bytes("POST", "/api/v1/talk", body, f"Authorization: Bearer {app.key}")


def seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def main() -> None:
    table = Table("what", "promised", "median ms", "longest ms")

    def row(what: str, promised: str, figures: list[float]) -> None:
        table.add_row(what, promised, f"{statistics.median(figures) * 1e3:.1f}", f"{max(figures) * 1e3:.1f}")

    settings = Settings(max_streams=PLACES)
    with tempfile.TemporaryDirectory() as folder, app_on(Path(folder), FakeClock(), settings) as app:
        app.does.source = HeldSource
        with serving(app) as server:

            def health() -> None:
                with closing(Client(server.port)) as client:
                    assert client.request("GET", "/healthz").status == 200

            first_bytes, held = [], []
            for _ in range(PLACES):
                client = Client(server.port)
                client.send(talk(app))
                first_bytes.append(seconds(lambda client=client: client.until(b": ping\n\n")))  # type: ignore[misc]
                held.append(client)
            row("first byte of a stream", "1 s", first_bytes)
            row(f"/healthz, all {PLACES} places taken", "500 ms", [seconds(health) for _ in range(ROUNDS)])
            for client in held:
                client.close()
            slow = [Client(server.port) for _ in range(550)]
            for client in slow[:50]:
                client.send(b"GET /healthz HTTP/1.1\r\nHost: loc")
            row("/healthz, 500 idle and 50 dripping", "500 ms", [seconds(health) for _ in range(ROUNDS)])
            for client in slow:
                client.close()
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
