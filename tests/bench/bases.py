"""Many knowledge bases: what creating one costs as they become more, with and without documents in them.

.venv/bin/python -m tests.bench.bases [--most 5000] [--documents]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console

from tests.support.knowledge import ready, upload_file
from tests.support.running import Running, running

BASES = "/api/v1/knowledge"
SHOWN = (50, 100, 200, 500, 1000, 2000, 3000, 5000)
LAST = 50


def create(api: Running, number: int) -> tuple[str, float]:
    begun = time.monotonic()
    made = api.ask("POST", BASES, {"name": f"base {number}"})
    assert made.status == 201
    return f"{BASES}/{made.json['id']}", time.monotonic() - begun


def connect(api: Running) -> float:
    """Seconds until a new connection to the file has read the names of all tables."""
    begun = time.monotonic()
    api.appliance.store._readers._connect().close()
    return time.monotonic() - begun


@click.command()
@click.option("--most", default=5000, show_default=True)
@click.option("--documents", is_flag=True, help="Put a document into each, which takes some hundredths of a second.")
def main(most: int, *, documents: bool) -> None:
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as data, running(Path(data) / "data") as api:
        times: list[float] = []
        for number in range(1, most + 1):
            base, seconds = create(api, number)
            times.append(seconds)
            if documents:
                assert upload_file(api, f"{base}/documents").status == 201
                ready(api, base)
            if number in SHOWN:
                created = statistics.median(times[-LAST:]) * 1000
                console.print(f"{number}: created in {created:.1f} ms, a new connection {connect(api) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
