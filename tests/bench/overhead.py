"""What a small authenticated request costs, against a handler that does nothing on the same server."""

from __future__ import annotations

import http.client
import statistics
import tempfile
import threading
import time
from pathlib import Path

import bottle
import waitress
from rich.console import Console
from rich.table import Table

from tests.support.running import running

ROUNDS = 7
SECONDS = 2.0


def bare() -> int:
    """Start a bare bottle application on waitress; its port."""
    application = bottle.Bottle()
    application.route("/", "GET", lambda: {"data": [{"id": "x", "name": "y"}], "total": 1})
    server = waitress.create_server(application, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    return int(server.effective_port)


def rate(port: int, path: str, headers: dict[str, str]) -> float:
    """Requests per second of one client on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    done, begun = 0, time.monotonic()
    while time.monotonic() - begun < SECONDS:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        done += 1
    connection.close()
    return done / SECONDS


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as api:
        key = {"Authorization": f"Bearer {api.key}"}
        targets = {
            "bare handler": (bare(), "/", {}),
            "GET /healthz": (api.port, "/healthz", {}),
            "GET /api/v1/me": (api.port, "/api/v1/me", key),
            "GET /api/v1/keys": (api.port, "/api/v1/keys", key),
        }
        rates: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(ROUNDS):
            for name, target in targets.items():
                rates[name].append(rate(*target))
    base = statistics.median(rates["bare handler"])
    table = Table("request", "per second", "microseconds", "ratio to bare", title=f"medians of {ROUNDS} rounds in turn")
    for name, figures in rates.items():
        median = statistics.median(figures)
        table.add_row(name, f"{median:.0f}", f"{1e6 / median:.0f}", f"{median / base:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
