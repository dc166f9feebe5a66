"""Chat completions over HTTP: our appliance and, in turn in one run, llama-server or any OpenAI-compatible server.

    .venv/bin/python -m tests.bench.engine [CASE …] [--llama-server PROGRAM] [--against NAME=URL …] [--json FILE]

Cases: decode (the default), prefix, arrival, fairness, schema, embeddings. Each round asks every server in turn, so
that a machine that slows down slows all of them; medians of the rounds are printed, and ratios are of one round.
"""

from __future__ import annotations

import json
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tests.bench import engine_cases
from tests.bench.engine_client import BenchError, Job, Run, Target, percentile, together
from tests.bench.engine_servers import llama_server, ours

TOKENS = 96
TOPICS = ("the sea", "bread", "trains", "winter", "glass", "bees", "maps", "iron", "rain", "chess", "salt", "clocks")
_COLUMNS = ("streams", "server", "tokens/s", "first p50 s", "first p95 s", "gap p50 ms", "gap p95 ms", "client CPU")

Row = dict[str, Any]


def answers(target: Target, count: int, round_: int) -> Run:
    """`count` streams at once. Greedy texts of one length; the prompts differ, so that nothing is shared."""
    prompts = [f"{count}-{round_}-{n}: Tell a long story about {TOPICS[n % len(TOPICS)]}." for n in range(count)]
    return together([Job(target, engine_cases.chat(prompt, TOKENS)) for prompt in prompts])


def decode(targets: list[Target], count: int, rounds: int) -> list[Row]:
    """One row of figures for each server; `ratio` is ours to it, `share` how many of the asked tokens came."""
    runs: dict[str, list[Run]] = {target.name: [] for target in targets}
    for round_ in range(rounds):
        for target in targets if round_ % 2 == 0 else targets[::-1]:
            runs[target.name].append(answers(target, count, round_))
    rows = []
    for name, own in runs.items():
        gaps = [gap for run in own for gap in run.gaps]
        firsts = [stream.first for run in own for stream in run.streams]
        rows.append(
            {
                "case": "decode",
                "streams": count,
                "server": name,
                "tokens_per_second": statistics.median(run.rate for run in own),
                "first_p50": percentile(firsts, 0.5),
                "first_p95": percentile(firsts, 0.95),
                "gap_p50": percentile(gaps, 0.5),
                "gap_p95": percentile(gaps, 0.95),
                "client_cpu": sum(run.client_cpu for run in own) / sum(run.seconds for run in own),
                "share": sum(s.tokens for run in own for s in run.streams) / (TOKENS * count * rounds),
                "ratio": statistics.median(a.rate / b.rate for a, b in zip(runs["ours"], own, strict=True)),
            }
        )
    return rows


def decode_table(rows: list[Row]) -> Table:
    table = Table(*_COLUMNS, "tokens come", "ours / theirs")
    for row in rows:
        table.add_row(
            str(row["streams"]),
            row["server"],
            f"{row['tokens_per_second']:.1f}",
            f"{row['first_p50']:.3f}",
            f"{row['first_p95']:.3f}",
            f"{row['gap_p50'] * 1e3:.1f}",
            f"{row['gap_p95'] * 1e3:.1f}",
            f"{row['client_cpu']:.1%}",
            f"{row['share']:.0%}",
            "" if row["server"] == "ours" else f"{row['ratio']:.3f}",
        )
    return table


@click.command()
@click.argument("cases", nargs=-1, type=click.Choice(["decode", *engine_cases.CASES]))
@click.option("--llama-server", "program", type=click.Path(exists=True, path_type=Path), help="A build of it.")
@click.option("--threads", default="1,2", show_default=True, help="llama-server is started with each of them.")
@click.option("--np", default=8, show_default=True, help="llama-server's slots.")
@click.option("--slots", default=16, show_default=True, help="Our slots.")
@click.option("--against", multiple=True, metavar="NAME=URL", help="A running server, by the base of its API.")
@click.option("--streams", default="1,4,8,16", show_default=True, help="Streams at once.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures there as well.")
def main(
    *,
    cases: tuple[str, ...],
    program: Path | None,
    threads: str,
    np: int,
    slots: int,
    against: tuple[str, ...],
    streams: str,
    rounds: int,
    file: Path | None,
) -> None:
    console, rows = Console(width=140), []
    with ExitStack() as stack:
        first, second = stack.enter_context(ours(slots))
        targets = [first, *(Target(*one.split("=", 1)) for one in against)]
        if program is not None:
            targets += [stack.enter_context(llama_server(program, int(count), np)) for count in threads.split(",")]
        try:
            for target in targets:
                answers(target, 2, -1)  # loads the model
            for case in cases or ("decode",):
                if case == "decode":
                    for count in (int(part) for part in streams.split(",")):
                        rows += (figures := decode(targets, count, rounds))
                        console.print(decode_table(figures))
                else:
                    rows += (figures := engine_cases.CASES[case](targets, second, rounds))
                    console.print(engine_cases.table(case, figures))
        except BenchError as failure:
            raise click.ClickException(str(failure)) from failure
    if file is not None:
        file.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
