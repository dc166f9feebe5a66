"""From the start of the process to ready, and from there to the first token of the first chat."""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from tests.support.program import PROGRAM, Serving

ROUNDS = 5


def first_token(serving: Serving) -> float:
    """Seconds until the first text of a streamed answer, asked right after the start."""
    begun = time.monotonic()
    connection = http.client.HTTPConnection(urlsplit(serving.address).netloc, timeout=120)
    body = {"model": "default", "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Authorization": f"Bearer {serving.key}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    for line in iter(answer.readline, b""):
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            break
    seconds = time.monotonic() - begun
    answer.read()
    connection.close()
    return seconds


def measure(command: list[str]) -> tuple[list[float], list[float], list[float]]:
    """Seconds of first starts, later starts, and first tokens."""
    first, later, tokens = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            start = [*command, "serve", "--data", f"{folder}/data", "--port", "0"]
            serving = Serving.start(start)
            first.append(serving.ready_after)
            tokens.append(first_token(serving))
            serving.stop()
            serving = Serving.start(start)
            later.append(serving.ready_after)
            serving.stop()
    return first, later, tokens


def main() -> None:
    table = Table("program", "first start", "later starts", "first token after the first start", title="median seconds")
    programs = {"source": [sys.executable, "-m", "secureai_appliance"]}
    if Path(PROGRAM).exists():
        programs["onefile"] = [str(PROGRAM)]
    for name, command in programs.items():
        table.add_row(name, *(f"{statistics.median(figures):.2f}" for figures in measure(command)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
