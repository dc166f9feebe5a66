"""What authentication, limits, usage and metrics add to a request: each on its own, and a whole request with them."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from secureai_appliance.accounts import keys
from secureai_appliance.governance.usage import Used
from tests.support.clock import FakeClock
from tests.support.web import App, app_on

ROUNDS = 7
TIMES = 2000


def microseconds(call: Callable[[], object]) -> float:
    """The median over rounds of one call."""
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(TIMES):
            call()
        found.append((time.perf_counter() - begun) / TIMES * 1e6)
    return statistics.median(found)


def parts_of(app: App) -> dict[str, Callable[[], object]]:
    parts = app.parts

    def authenticate() -> None:
        with parts.store.read() as db:
            keys.authenticate(db, app.key, 0)

    def limit() -> None:
        lease = parts.quotas.admit(app.user_id, "standard", completion=True)
        lease.nearest().headers()
        lease.release()

    used = Used(app.user_id, "key-x", "model", "", 10, 10, 0.1)
    return {
        "authentication": authenticate,
        "limits with headers": limit,
        "usage": lambda: parts.usage.add(used),
        "metrics": lambda: parts.metrics.answered("GET", "/api/v1/things", 200, 0.1),
    }


def main() -> None:
    table = Table("what", "microseconds", title=f"medians of {ROUNDS} rounds of {TIMES}, in one thread")
    with tempfile.TemporaryDirectory() as folder, app_on(Path(folder), FakeClock()) as app:
        # a request is counted, and nothing is written between two of them, as on a server that is read
        app.does.names["thing-1"] = "a"
        figures = {name: microseconds(call) for name, call in parts_of(app).items()}
        whole = microseconds(lambda: app.call("GET", "/api/v1/things/thing-1"))
        public = microseconds(lambda: app.call("GET", "/healthz", key=None))
    for name, figure in figures.items():
        table.add_row(name, f"{figure:.1f}")
    table.add_row("together", f"{sum(figures.values()):.1f}")
    table.add_row("a whole GET with all of it (test harness included)", f"{whole:.1f}")
    table.add_row("a whole GET without authentication, limits and usage", f"{public:.1f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
