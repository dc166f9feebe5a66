"""The engine's benchmarks beside plain decoding. Each returns rows of one shape: case, server, what, value."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from tests.bench.engine_client import Job, Run, Stream, Target, percentile, together

_WORDS = ("harbour", "lantern", "orchard", "granite", "meadow", "copper", "willow", "thunder", "saddle", "canyon")
_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "people": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "city": {"type": "string"}},
                "required": ["name", "age", "city"],
                "additionalProperties": False,
            },
            "minItems": 8,
        },
    },
    "required": ["title", "people"],
    "additionalProperties": False,
}

Row = dict[str, Any]
Case = Callable[[list[Target], Target, int], list[Row]]


def chat(prompt: str, tokens: int, **fields: Any) -> dict[str, Any]:
    """A greedy chat request."""
    return {
        "model": "default",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        **fields,
    }


def text(words: int, seed: int) -> str:
    """So many words that no other seed's text begins with."""
    return f"Text {seed}. " + " ".join(_WORDS[(i * i + i // 3 + seed) % len(_WORDS)] for i in range(words))


def row(case: str, server: str, what: str, value: float) -> Row:
    return {"case": case, "server": server, "what": what, "value": value}


def prefix(targets: list[Target], _second: Target, rounds: int) -> list[Row]:
    """A prompt of some 1,000 tokens beside one stream: cold, and begun like the stream's own."""
    rows = []
    for target in targets:
        cold, shared, cached = [], [], []
        for round_ in range(rounds):
            own, other = text(950, 2 * round_), text(950, 2 * round_ + 1)
            jobs = [
                Job(target, chat(own + " Tell a story.", 160)),
                Job(target, chat(own + " What is this about?", 4), after=8),
            ]
            _, asked = together(jobs).streams
            shared.append(asked.first)
            cached.append(asked.cached_tokens)
            jobs[1] = Job(target, chat(other + " What is this about?", 4), after=8)
            jobs[0] = Job(target, chat(text(950, 1000 + round_) + " Tell a story.", 160))
            _, asked = together(jobs).streams
            cold.append(asked.first)
        rows += [
            row("prefix", target.name, "prompt, tokens", asked.prompt_tokens),
            row("prefix", target.name, "first token, cold, s", statistics.median(cold)),
            row("prefix", target.name, "first token, shared, s", statistics.median(shared)),
            row("prefix", target.name, "cached tokens", statistics.median(cached)),
            row("prefix", target.name, "shared / cold", statistics.median(shared) / statistics.median(cold)),
        ]
    return rows


def arrival(targets: list[Target], _second: Target, rounds: int) -> list[Row]:
    """A prompt of some 2,000 tokens arrives among four streams."""
    rows = []
    for target in targets:
        alone, beside, before, during = [], [], [], []
        for round_ in range(rounds):
            alone.append(together([Job(target, chat(text(1900, 500 + round_) + " Tell a story.", 2))]).streams[0].first)
            streams = [Job(target, chat(f"{round_}-{n}: Tell a long story.", 400)) for n in range(4)]
            run = together([*streams, Job(target, chat(text(1900, 700 + round_) + " Tell a story.", 2), after=60)])
            *others, late = run.streams
            beside.append(late.first)
            begun, ended = late.asked, late.asked + late.first
            for stream in others:
                before += _gaps_between(stream, 0, begun)[4:]
                during += _gaps_between(stream, begun, ended + max(stream.gaps, default=0.0))
        rows += [
            row("arrival", target.name, "prompt, tokens", late.prompt_tokens),
            row("arrival", target.name, "gap p95 before, ms", percentile(before, 0.95) * 1e3),
            row("arrival", target.name, "gap p95 during, ms", percentile(during, 0.95) * 1e3),
            row("arrival", target.name, "longest gap during, ms", max(during) * 1e3),
            row("arrival", target.name, "p95 during / before", percentile(during, 0.95) / percentile(before, 0.95)),
            row("arrival", target.name, "prompt alone, s", statistics.median(alone)),
            row("arrival", target.name, "prompt among them, s", statistics.median(beside)),
            row("arrival", target.name, "steps of the streams meanwhile", len(during) / 4 / rounds),
        ]
    return rows


def _gaps_between(stream: Stream, begin: float, end: float) -> list[float]:
    """Gaps that end between two moments of the monotonic clock."""
    pairs = zip(stream.moments[1:], stream.gaps, strict=True)
    return [gap for moment, gap in pairs if begin <= stream.asked + moment <= end]


def fairness(targets: list[Target], second: Target, rounds: int) -> list[Row]:
    """One user holds every slot and queues 30 more long requests; another user asks."""
    first = targets[0]
    alone, beside, steps = [], [], []
    for round_ in range(rounds):
        alone.append(together([Job(second, chat(f"Alone {round_}: what is glass?", 8))]).streams[0].first)
        held = [Job(first, chat(f"{round_}-{n}: Tell a very long story.", 96)) for n in range(46)]
        asked = Job(second, chat(f"Beside {round_}: what is glass?", 8), after=16)
        run = together([*held, asked])
        beside.append(run.streams[-1].first)
        steps.append(percentile(run.gaps, 0.5))
    step = statistics.median(steps)
    return [
        row("fairness", "ours", "first token alone, s", statistics.median(alone)),
        row("fairness", "ours", "first token beside 46 requests, s", statistics.median(beside)),
        row("fairness", "ours", "one step meanwhile, s", step),
        row(
            "fairness",
            "ours",
            "(beside - one step) / alone",
            (statistics.median(beside) - step) / statistics.median(alone),
        ),
    ]


def schema(targets: list[Target], _second: Target, rounds: int) -> list[Row]:
    """Eight answers held to a JSON schema beside eight plain ones, and sixteen plain ones."""
    form = {"type": "json_schema", "json_schema": {"name": "people", "strict": True, "schema": _SCHEMA}}
    plain_runs, mixed_runs = [], []
    for round_ in range(rounds):
        plain = [chat(f"{round_}-{n}: Tell a long story.", 96) for n in range(16)]
        people = [chat(f"{round_}-{n}: List people, as JSON.", 96, response_format=form) for n in range(8)]
        plain_runs.append(together([Job(targets[0], body) for body in plain]))
        mixed_runs.append(together([Job(targets[0], body) for body in plain[:8] + people]))
    ratio = statistics.median(_rate(m) / _rate(p) for m, p in zip(mixed_runs, plain_runs, strict=True))
    return [
        row("schema", "ours", "16 plain, tokens/s", statistics.median(map(_rate, plain_runs))),
        row("schema", "ours", "8 plain, 8 schema, tokens/s", statistics.median(map(_rate, mixed_runs))),
        row("schema", "ours", "ratio", ratio),
    ]


def embeddings(targets: list[Target], _second: Target, rounds: int) -> list[Row]:
    """Answers beside a client that wants embeddings all the time, and each alone."""
    target, rows = targets[0], []
    for count in (1, 4):
        alone, beside, chunks, gaps = [], [], [], []
        for round_ in range(rounds):
            for load in (False, True):
                jobs = [
                    Job(target, chat(f"{count}-{round_}-{n + 9 * load}: Tell a long story about the sea.", 96))
                    for n in range(count)
                ]
                with _embedding(target, load) as done:
                    run = together(jobs)
                # by the gaps: an answer may be short
                (beside if load else alone).append(count / statistics.mean(run.gaps))
                if load:
                    chunks.append(done())
                    gaps += run.gaps
        rows += [
            row("embeddings", "ours", f"{count} streams alone, tokens/s", statistics.median(alone)),
            row("embeddings", "ours", f"{count} streams beside embeddings, tokens/s", statistics.median(beside)),
            row("embeddings", "ours", f"gap p95 beside embeddings, {count} streams, ms", percentile(gaps, 0.95) * 1e3),
            row("embeddings", "ours", f"chunks/s beside {count} streams", statistics.median(chunks)),
        ]
    with _embedding(target, wanted=True) as done:
        time.sleep(5 * rounds)
    return [*rows, row("embeddings", "ours", "chunks/s alone", done())]


@contextmanager
def _embedding(target: Target, wanted: bool) -> Iterator[Callable[[], float]]:
    """A client that has chunks of some 250 tokens embedded, 8 a request, until the block ends; chunks per second."""
    stop, times = threading.Event(), [time.monotonic()]

    def work() -> None:
        while not stop.is_set():
            body = {"model": "all-minilm-l6-v2", "input": [text(235, seed) for seed in range(8)]}
            headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{target.base}/embeddings", json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=300) as answer:
                answer.read()
            times.append(time.monotonic())

    clients = [threading.Thread(target=work) for _ in range(2 if wanted else 0)]
    for client in clients:
        client.start()
    try:
        yield lambda: 8 * (len(times) - 1) / (times[-1] - times[0])
    finally:
        stop.set()
        for client in clients:
            client.join()


def _rate(run: Run) -> float:
    return run.rate


def table(case: str, rows: list[Row]) -> Table:
    """Figures below each other, servers side by side."""
    servers = list(dict.fromkeys(one["server"] for one in rows))
    printed = Table(case, *servers)
    for what in dict.fromkeys(one["what"] for one in rows):
        values = {one["server"]: one["value"] for one in rows if one["what"] == what}
        printed.add_row(what, *(f"{values[server]:.4g}" for server in servers))
    return printed


CASES: dict[str, Case] = {
    "prefix": prefix,
    "arrival": arrival,
    "fairness": fairness,
    "schema": schema,
    "embeddings": embeddings,
}
