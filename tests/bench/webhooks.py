"""What an event costs the transaction that it belongs to, and how fast one webhook is served."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.governance import events
from secureai_appliance.governance.events import UserCreated
from secureai_appliance.store import Store
from tests.support.audit import open_audited
from tests.support.webhooks import Post, receiver

EMITTED, DELIVERED = 2000, 300


def emit_us(store: Store) -> float:
    """Microseconds that one `emit` adds."""
    with store.transaction() as tx:
        started = time.perf_counter()
        for _ in range(EMITTED):
            events.emit(tx, UserCreated(user_id="usr", email="ada@example.org", role="user"))
        return (time.perf_counter() - started) / EMITTED * 1e6


def delivered_per_second(post: Post) -> float:
    """Deliveries a second to one receiver that answers at once, each outcome on disk."""
    with receiver() as good:
        post.hook(good.url)
        for n in range(DELIVERED):
            post.emit(str(n))
        more = threading.Event()
        post.courier.free = more.set
        started = time.perf_counter()
        for _ in range(DELIVERED):
            more.clear()
            post.courier.step()
            more.wait(1)
            good.next()
        return DELIVERED / (time.perf_counter() - started)


def main() -> None:
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        store = open_audited(Path(folder) / "emit.db", clock)
        post = Post(store, clock)
        print(f"emit, no webhook: {emit_us(store):.1f} us")
        for _ in range(99):
            post.hook("http://127.0.0.1:9", "chat.created")
        print(f"emit, 99 webhooks that want other events: {emit_us(store):.1f} us")
        post.hook("http://127.0.0.1:9")
        print(f"emit, one of 100 wants it: {emit_us(store):.1f} us")
        post.courier.stop(1)
        store.close()
        store = open_audited(Path(folder) / "deliver.db", clock)
        post = Post(store, clock)
        print(f"deliveries to one webhook: {delivered_per_second(post):.0f} a second")
        post.courier.stop(1)
        store.close()


if __name__ == "__main__":
    main()
