"""Clients that hang up in every state, over real sockets: nothing of them stays."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from secureai_appliance.inference.engine import Engine
from tests.api.test_sharing_the_engine import begin, engine, idle
from tests.support.running import PATIENCE, Running

__all__ = ["engine"]

# connections for reading are kept open for the next reader: before anything is counted there are as many as there can
# be readers at a time here, which are the threads of two rounds and the appliance's own
READERS = 40


def descriptors() -> Counter[str]:
    """Open ones by kind: sockets, pipes, and files by their path."""
    kinds = Counter[str]()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            kinds[str(entry.readlink()).split(":")[0]] += 1
        except FileNotFoundError:
            continue  # the one that this look itself used
    return kinds


def open_readers(api: Running) -> None:
    with ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(api.appliance.store.read()).value("SELECT count(*) FROM users")


def hang_up(api: Running, engine: Engine, chance: random.Random) -> None:
    """More clients than slots; each goes at its own moment: in the queue, while its prompt is read, in its text."""
    clients: list[tuple[http.client.HTTPConnection, str]] = []
    for _ in range(engine.queue().slots + 4):
        moment = chance.choice(["at once", "first byte", "text", "whole"])
        text = "Tell a long story. " * chance.choice([1, 1, 20])
        clients.append((begin(api, text, stream=moment != "whole", max_tokens=chance.randint(40, 200)), moment))
    chance.shuffle(clients)
    for connection, moment in clients:
        answer = connection.getresponse() if moment in {"first byte", "text"} else None
        if answer is not None:
            assert answer.status == 200, answer.read()
            line = answer.readline()
            while moment == "text" and line and (b'"content":"' not in line or b'"content":""' in line):
                line = answer.readline()
            answer.close()
        connection.close()
    assert engine.wait_until(idle, PATIENCE)


def _hang_ups(api: Running, engine: Engine, rounds: int) -> None:
    chance = random.Random(7)
    open_readers(api)
    hang_up(api, engine, chance)  # what is made once is made now
    before = descriptors()
    # the one that listens, and both ends of the one that is asked until the server has closed the others
    before["socket"] = 3
    asking = api.connect()
    threads = set(threading.enumerate())
    for _ in range(rounds):
        hang_up(api, engine, chance)
    for _ in range(2_000):
        asking.request("GET", "/healthz")
        healthy = asking.getresponse()
        assert (healthy.status, healthy.read()[:1]) == (200, b"{")
        left = descriptors() - before
        # those of other tests' deliveries and look-ups of names come and go
        more = set(threading.enumerate()) - threads
        if not left and not more:
            break
    asking.close()
    assert left == Counter()
    assert more == set()
    assert b"\nsecureai_requests_in_flight 1.0\n" in api.ask("GET", "/metrics").body
    assert engine._runner is not None
    prefixes = engine._runner._prefixes
    assert len(prefixes._free) + len(prefixes._kept) == engine._runner._context.options.sequences
    assert api.chat("hi", max_tokens=1).status == 200


def test_hanging_up_at_random_leaks_nothing(api: Running, engine: Engine) -> None:
    _hang_ups(api, engine, 30 // (engine.queue().slots + 4) + 1)


@pytest.mark.soak
def test_five_hundred_hang_ups_at_random_leak_nothing(api: Running, engine: Engine) -> None:
    _hang_ups(api, engine, 500 // (engine.queue().slots + 4) + 1)
