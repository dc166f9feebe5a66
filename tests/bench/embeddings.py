"""Embedding chunks of 254 tokens: our engine, our HTTP API and, in turn in one run, sentence-transformers.

    .venv/bin/python -m tests.bench.embeddings --texts FILE [--peer PYTHON --model FOLDER] [--rounds 5]

FILE is any long text. PYTHON is an interpreter with sentence-transformers (`pip install sentence-transformers` with the
CPU build of torch), FOLDER the checkpoint that the bundled model was made from.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from secureai_appliance.inference.embedder import Embedder
from tests.bench.engine_client import Target
from tests.bench.engine_servers import ours
from tests.support.models import EMBEDDING

TOKENS = 254
CHUNKS = 64
_LONGEST_WORD = 40

Measure = Callable[[list[str]], tuple[float, list[float]]]
"""Embeds texts; the seconds that it took, and the first vector."""


def chunks(embedder: Embedder, text: str) -> list[str]:
    """The text in pieces of at most `TOKENS` tokens. Raises ClickException when there are too few."""
    words = [word for word in text.split() if len(word) <= _LONGEST_WORD]
    pieces: list[str] = []
    at = 0
    while len(pieces) < CHUNKS and at + TOKENS < len(words):
        count = TOKENS
        while len(embedder.tokenize(" ".join(words[at : at + count]))) > TOKENS:
            count -= 1
        pieces.append(" ".join(words[at : at + count]))
        at += count
    if len(pieces) < CHUNKS:
        raise click.ClickException(f"The text is too short for {CHUNKS} chunks.")
    return pieces


def in_process(embedder: Embedder) -> Measure:
    def measure(texts: list[str]) -> tuple[float, list[float]]:
        begun = time.monotonic()
        vectors = embedder.embed([embedder.tokenize(text) for text in texts])
        return time.monotonic() - begun, vectors[0].tolist()

    return measure


def over_http(target: Target) -> Measure:
    def measure(texts: list[str]) -> tuple[float, list[float]]:
        begun = time.monotonic()
        request = urllib.request.Request(
            f"{target.base}/embeddings",
            json.dumps({"model": "all-minilm-l6-v2", "input": texts}).encode(),
            {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            first: list[float] = json.load(answer)["data"][0]["embedding"]
        return time.monotonic() - begun, first

    return measure


@contextmanager
def sentence_transformers(python: str, model: str) -> Iterator[Measure]:
    script = Path(__file__).with_name("embeddings_peer.py")
    command = [python, str(script), model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reader, writer = process.stdout, process.stdin
        reader.readline()

        def measure(texts: list[str]) -> tuple[float, list[float]]:
            writer.write(json.dumps(texts) + "\n")
            writer.flush()
            told = json.loads(reader.readline())
            return told["seconds"], told["first"]

        yield measure
        writer.close()


@click.command()
@click.option("--texts", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--peer", help="A Python interpreter that has sentence-transformers.")
@click.option("--model", help="The folder with the checkpoint for it.")
@click.option("--rounds", default=5, show_default=True)
def main(texts: Path, peer: str | None, model: str | None, rounds: int) -> None:
    with ExitStack() as stack:
        embedder = Embedder(EMBEDDING)
        stack.callback(embedder.close)
        first, _ = stack.enter_context(ours(slots=1))
        measures = {"ours, in process": in_process(embedder), "ours, over HTTP": over_http(first)}
        if peer and model:
            measures["sentence-transformers"] = stack.enter_context(sentence_transformers(peer, model))
        pieces = chunks(embedder, texts.read_text())
        vectors = {name: measure(pieces)[1] for name, measure in measures.items()}  # loads the models
        seconds: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(rounds):
            for name, measure in measures.items():
                seconds[name].append(measure(pieces)[0])
    baseline = list(seconds)[-1]
    table = Table("engine", "chunks/s", f"ratio to {baseline}", "cosine of the first vectors")
    for name, own in seconds.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(seconds[baseline], own, strict=True))
        cosine = sum(a * b for a, b in zip(vectors[name], vectors[baseline], strict=True))
        table.add_row(name, f"{CHUNKS / statistics.median(own):.1f}", f"{ratio:.2f}", f"{cosine:.4f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
