"""What a row of the audit log costs: `python -m tests.bench.audit`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.governance import audit, chain
from secureai_appliance.governance.audit import Actor
from secureai_appliance.store import Store
from tests.support.audit import CHAIN_KEY, open_audited

ROWS_IN_A_TRANSACTION = 100
ACTOR = Actor("usr-aaaaaaaaaaaaaaaaaaaa", "key-bbbbbbbbbbbbbbbbbbbb", "192.168.100.200")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_audited(Path(folder) / "audit.db", SystemClock())
        for size in (1000, 20_000, 100_000):
            spent, measured = 0.0, 0
            while chain_length(store) < size:
                with store.transaction() as tx:
                    started = time.perf_counter()
                    for n in range(ROWS_IN_A_TRANSACTION):
                        audit.record(tx, ACTOR, "key.created", "key", f"key-{n:020}", details={"scopes": 3})
                    spent += time.perf_counter() - started
                    measured += ROWS_IN_A_TRANSACTION
            print(f"to {size:7} rows: {spent / measured * 1e6:6.1f} us a row, without the commit")
        started = time.perf_counter()
        found = chain.verify(store, CHAIN_KEY)
        print(f"verify: {found.rows / (time.perf_counter() - started):,.0f} rows/s, ok: {found.ok}")
        store.close()


def chain_length(store: Store) -> int:
    with store.read() as db:
        return int(db.value("SELECT count FROM audit_head"))


if __name__ == "__main__":
    main()
