"""What a small authenticated request costs, against a handler that does nothing on the same server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import bottle
import waitress
from rich.console import Console
from rich.table import Table

from tests.support.running import running

ROUNDS = 7
SECONDS = 2.0


def bare(body: bytes = b'{"data": [{"id": "x", "name": "y"}], "total": 1}') -> int:
    """Start a bare bottle application on waitress that answers with this JSON; its port."""
    application, answer = bottle.Bottle(), json.loads(body)
    application.route("/", "GET", lambda: answer)
    server = waitress.create_server(application, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    return int(server.effective_port)


def rate(port: int, path: str, headers: dict[str, str]) -> float:
    """Requests per second of one client on one connection, in a process of its own."""
    sent = [f"{name}: {value}" for name, value in headers.items()]
    command = [sys.executable, "-m", "tests.bench.client", str(port), path, str(SECONDS), *sent]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


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
