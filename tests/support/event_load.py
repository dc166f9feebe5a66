"""A process that emits events and delivers them until it is killed: `python -m tests.support.event_load FILE NAME`.

Prints the name of each event once its transaction is stored. Every third transaction is rolled back; its event has a
name that begins with `undone`.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from pathlib import Path

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.governance import events
from secureai_appliance.governance.events import UserCreated
from secureai_appliance.store import Store
from tests.support.audit import CHAIN_KEY
from tests.support.webhooks import Post


class Undone(Exception):
    """Rolls a transaction back."""


def emit(store: Store, name: str) -> None:
    with store.transaction() as tx:
        events.emit(tx, UserCreated(user_id=name, email="", role="user"))
        if name.startswith("undone"):
            raise Undone


def deliver(post: Post) -> None:
    more = threading.Event()
    post.courier.free = more.set
    while True:
        more.clear()
        post.courier.step()
        # what is emitted meanwhile is found at the next look
        more.wait(0.005)


def main() -> None:
    path, name = Path(sys.argv[1]), sys.argv[2]
    store = Store.open(path, clock=SystemClock(), chain_key=CHAIN_KEY)
    threading.Thread(target=deliver, args=(Post(store, SystemClock()),), daemon=True).start()
    for n in itertools.count():
        if n % 3 == 2:
            with contextlib.suppress(Undone):
                emit(store, f"undone-{name}-{n}")
        else:
            emit(store, f"{name}-{n}")
            print(f"{name}-{n}", flush=True)


if __name__ == "__main__":
    main()
