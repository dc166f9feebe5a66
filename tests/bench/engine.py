"""Chat completions over HTTP: our appliance and, side by side in one run, another OpenAI-compatible server.

    .venv/bin/python -m tests.bench.engine [--against NAME=URL …] [--streams 1,4,8,16] [--rounds 3]

Each round asks every server in turn, so that a machine that slows down slows all of them. Texts are greedy and 96
tokens long; the prompts differ, so that nothing is shared. Printed: tokens per second of all streams together, seconds
to the first token, milliseconds between tokens (p50, p95), and the ratio of our tokens per second to each other's.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.table import Table

from tests.support.running import running

TOKENS = 96
TOPICS = ("the sea", "bread", "trains", "winter", "glass", "bees", "maps", "iron", "rain", "chess", "salt", "clocks")


@dataclass
class Target:
    """A server with `/chat/completions` below `base`."""

    name: str
    base: str
    key: str = "none"


@dataclass
class Stream:
    """When the tokens of one stream came, in seconds after it was asked."""

    moments: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.moments, self.moments[1:], strict=False)]


def ask(target: Target, prompt: str, stream: Stream) -> None:
    """Stream one answer of `TOKENS` tokens."""
    url = urlsplit(target.base)
    connection = http.client.HTTPConnection(url.netloc, timeout=300)
    body = {
        "model": "default",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": True,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.key}"}
    begun = time.monotonic()
    connection.request("POST", f"{url.path}/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    if answer.status != 200:
        stream.failed = answer.read().decode()
        return
    for line in iter(answer.readline, b""):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "error" in event:
                stream.failed = str(event["error"])
            elif event["choices"] and event["choices"][0]["delta"].get("content"):
                stream.moments.append(time.monotonic() - begun)
    connection.close()


def together(target: Target, count: int, round_: int) -> tuple[float, list[Stream]]:
    """`count` streams at once; tokens per second of all of them, from the first request to the last token."""
    streams = [Stream() for _ in range(count)]
    prompts = [f"{round_}-{n}: Tell a long story about {TOPICS[n % len(TOPICS)]}." for n in range(count)]
    threads = [
        threading.Thread(target=ask, args=(target, prompt, stream))
        for prompt, stream in zip(prompts, streams, strict=True)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    failed = next((stream.failed for stream in streams if stream.failed), "")
    if failed:
        raise click.ClickException(f"{target.name}: {failed}")
    return sum(len(stream.moments) for stream in streams) / seconds, streams


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def compare(targets: list[Target], counts: list[int], rounds: int) -> Table:
    table = Table("streams", "server", "tokens/s", "first token s", "gap p50 ms", "gap p95 ms", "ours / theirs")
    for count in counts:
        rates: dict[str, list[float]] = {target.name: [] for target in targets}
        seen: dict[str, list[Stream]] = {target.name: [] for target in targets}
        for round_ in range(rounds):
            for target in targets:
                rate, streams = together(target, count, round_)
                rates[target.name].append(rate)
                seen[target.name] += streams
        for target in targets:
            gaps = [gap for stream in seen[target.name] for gap in stream.gaps]
            first = statistics.median(stream.moments[0] for stream in seen[target.name])
            ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates[target.name], strict=True)]
            table.add_row(
                str(count),
                target.name,
                f"{statistics.median(rates[target.name]):.0f}",
                f"{first:.2f}",
                f"{percentile(gaps, 0.5) * 1e3:.0f}",
                f"{percentile(gaps, 0.95) * 1e3:.0f}",
                "" if target.name == "ours" else f"{statistics.median(ratios):.2f}",
            )
    return table


@click.command()
@click.option("--against", multiple=True, metavar="NAME=URL", help="Another server, by the base of its API.")
@click.option("--streams", default="1,4,8,16", show_default=True, help="Streams at once.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are printed.")
def main(against: tuple[str, ...], streams: str, rounds: int) -> None:
    counts = [int(part) for part in streams.split(",")]
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data", threads=0, slots=16) as api:
        targets = [Target("ours", api.base_url, api.key)]
        targets += [Target(*one.split("=", 1)) for one in against]
        for target in targets:
            together(target, 1, -1)  # loads the model
        Console(width=120).print(compare(targets, counts, rounds))


if __name__ == "__main__":
    main()
