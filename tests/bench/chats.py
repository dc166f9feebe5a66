"""Chats at size: a page of a hundred thousand, a search over a hundred thousand messages, and the list over HTTP."""

from __future__ import annotations

import http.client
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from secureai_appliance.accounts import users
from secureai_appliance.conversations import chat_messages, chats
from secureai_appliance.conversations.chat_messages import NewMessage
from secureai_appliance.conversations.chats import ChatQuery
from secureai_appliance.core import text_terms
from secureai_appliance.store import Page, Store
from tests.bench.overhead import bare, rate
from tests.support.running import running

CHATS = 100_000
MESSAGES = 100_000
ROUNDS = 7
TIMES = 60
AT_ONCE = 50
_FIRST = ("bra", "ca", "fil", "gas", "mo", "oil", "pa", "ro")
_LAST = ("", "n", "ring", "set", "s", "tion", "der", "mat", "lic", "ver")
WORDS = [f"{first}{middle}{last}" for first in _FIRST for middle in ("be", "di", "ke", "ter", "lo") for last in _LAST]


def sentence(chance: random.Random) -> str:
    """Fifty words, few of them often, as in language (Zipf)."""
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    return " ".join(chance.choices(WORDS, weights, k=50))


def fill(store: Store, user_id: str, count: int, messages: int) -> None:
    """Chats of one user, with `messages` among the newest of them, ten in each."""
    chance = random.Random(1)
    with store.read() as db:
        caller = users.caller_of(db, user_id)
    for begun in range(0, count, AT_ONCE):
        with store.transaction() as tx:
            for number in range(begun, begun + AT_ONCE):
                chat = chats.insert(tx, caller, model="m", title=f"chat {WORDS[number % 400]} {number}", by="user")
                if count - number <= messages // 10:
                    said = [(role, sentence(chance)) for role in ("user", "assistant") * 5]
                    new = [NewMessage(role=role, content=t, terms=text_terms.indexed(t)) for role, t in said]
                    chat_messages.add(tx, chats.place(tx, chat.id), new)


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """The median and the 95th percentile of one call."""
    found = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        call()
        found.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(found), sorted(found)[int(0.95 * TIMES)]


def pages(store: Store, user_id: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured in process."""

    def page(**query: object) -> Callable[[], Page[chats.ListedChat]]:
        def ask() -> Page[chats.ListedChat]:
            with store.read() as db:
                return chats.list_(db, ChatQuery(**query), user_id)  # type: ignore[arg-type]

        return ask

    cursor = page()().next
    rare, common = WORDS[-1], WORDS[0]
    yield "first page of 20", page()
    yield "first page of 100", page(page_size=100)
    yield "second page, by cursor", page(cursor=cursor)
    yield "page 2,500 of 20, by number", page(page=2500)
    yield "a tag that none has", page(tag="none")
    yield f"search: a rare word ({rare})", page(q=rare)
    yield "search: two words", page(q=f"{WORDS[200]} {WORDS[300]}")
    yield f"search: the beginning of many words ({common})", page(q=common)
    yield "search: a word that none has", page(q="xylophone")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CHATS
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as api:
        user_id = api.ask("GET", "/api/v1/me").json["id"]
        store = api.appliance.store
        begun = time.monotonic()
        fill(store, user_id, count, min(MESSAGES, count * 10))
        console.print(f"{count:,} chats and {min(MESSAGES, count * 10):,} messages in {time.monotonic() - begun:.0f} s")
        table = Table("in process", "found", "p50 ms", "p95 ms")
        for name, call in pages(store, user_id):
            median, late = milliseconds(call)
            table.add_row(name, f"{call().total:,}", f"{median:.2f}", f"{late:.2f}")  # type: ignore[attr-defined]
        console.print(table)
        console.print(over_http(api.port, api.key, api.make_user("few@example.org")))


def _body(port: int, key: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/api/v1/chats", headers={"Authorization": f"Bearer {key}"})
    body = connection.getresponse().read()
    connection.close()
    return body


def over_http(port: int, many: str, few: str) -> Table:
    """Requests per second of `GET /chats`, in turn with a bare handler in the same run."""
    for number in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        sent = {"Authorization": f"Bearer {few}", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/chats", f'{{"title": "chat {number}"}}', sent)
        assert connection.getresponse().status == 201
        connection.close()
    few_json = _body(port, few)
    targets = {
        "bare handler": (bare(), "/", {}),
        "bare handler, as many bytes": (bare(few_json), "/", {}),
        "GET /chats, 20 chats": (port, "/api/v1/chats", {"Authorization": f"Bearer {few}"}),
        "GET /chats, all": (port, "/api/v1/chats", {"Authorization": f"Bearer {many}"}),
    }
    rates: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, target in targets.items():
            rates[name].append(rate(*target))
    base = statistics.median(rates["bare handler"])
    table = Table(
        "over HTTP", "per second", "microseconds", "ratio to bare", title=f"medians of {ROUNDS} rounds in turn"
    )
    for name, figures in rates.items():
        median = statistics.median(figures)
        table.add_row(name, f"{median:.0f}", f"{1e6 / median:.0f}", f"{median / base:.2f}")
    return table


if __name__ == "__main__":
    main()
