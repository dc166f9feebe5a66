"""What authentication, limits, usage, metrics and audit add to a request: each on its own, and together."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from secureai_appliance.accounts.credentials import Credentials
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.refusals import Refusal
from secureai_appliance.governance.usage import Used
from tests.support.clock import FakeClock
from tests.support.web import App, app_on

ROUNDS = 7
TIMES = 1000


def microseconds(call: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """The median over rounds of one call; `before` is done before each and not counted."""
    found = []
    for _ in range(ROUNDS):
        spent = 0.0
        for _ in range(TIMES):
            before()
            begun = time.perf_counter()
            call()
            spent += time.perf_counter() - begun
        found.append(spent / TIMES * 1e6)
    return statistics.median(found)


def parts_of(app: App) -> dict[str, Callable[[], object]]:
    """What every request goes through."""
    parts = app.parts

    credentials = Credentials(parts.store)

    def limit() -> None:
        lease = parts.quotas.admit(app.user_id, "standard", None, completion=True)
        lease.nearest().headers()
        lease.release()

    used = Used(app.user_id, "key-x", "model", "", 10, 10, 0.1)
    return {
        "authentication": lambda: credentials.holder(app.key, 0, "127.0.0.1"),
        "limits with headers": limit,
        "usage": lambda: parts.usage.add(used),
        "metrics": lambda: parts.metrics.answered("GET", "/api/v1/things", 200, 0.1),
    }


def writer(app: App) -> Callable[[], None]:
    """Writes something that is no setting, so that whatever is cached has to look again."""
    numbers = itertools.count()

    def write() -> None:
        with app.parts.store.transaction() as tx:
            tx.run(
                "INSERT INTO sign_in_links (token_hash, user_id, expires_at, created_at) VALUES (?, ?, 0, 0)",
                *(b"%d" % next(numbers), app.user_id),
            )

    return write


def audited(app: App) -> float:
    """A row of the audit log within a transaction, without the commit, which the change needs anyway."""
    actor = Actor(app.user_id, "key-x", "192.0.2.1")
    with app.parts.store.transaction() as tx:
        return microseconds(lambda: audit.record(tx, actor, "key.created", "key", "key-y", details={"scopes": 3}))


def main() -> None:
    table = Table("what", "quiet", "after a write", title=f"microseconds, medians of {ROUNDS} rounds, in one thread")
    with tempfile.TemporaryDirectory() as folder, app_on(Path(folder), FakeClock()) as app:
        app.does.names["thing-1"] = "a"
        parts, write = parts_of(app), writer(app)
        figures = {name: (microseconds(call), microseconds(call, write)) for name, call in parts.items()}
        refusal = Refusal("permission.denied", Actor(app.user_id), "route", "GET /api/v1/things", "denied")
        noted = microseconds(lambda: app.parts.refusals.note(refusal, 0.0))
        row = audited(app)
        whole = microseconds(lambda: app.call("GET", "/api/v1/things/thing-1"))
        assert app.call("GET", "/api/v1/things/thing-1").status == 200
        public = microseconds(lambda: app.call("GET", "/healthz", key=None))
    for name, (quiet, busy) in figures.items():
        table.add_row(name, f"{quiet:.1f}", f"{busy:.1f}")
    quiet, busy = (sum(column) for column in zip(*figures.values(), strict=True))
    table.add_row("together, of a request that changes nothing", f"{quiet:.1f}", f"{busy:.1f}")
    table.add_row("a refused one, counted for the audit log", f"{noted:.1f}", "")
    table.add_row("a row of the audit log, of a request that changes something", f"{row:.1f}", "")
    table.add_row("together with that row", f"{quiet + row:.1f}", f"{busy + row:.1f}")
    table.add_row("a whole GET with all of it (test harness included)", f"{whole:.1f}", "")
    table.add_row("a whole GET without authentication, limits and usage", f"{public:.1f}", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
