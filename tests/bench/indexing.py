"""From files to what can be found: chunks per second against the embedder alone, in turn in one run, over HTTP.

    .venv/bin/python -m tests.bench.indexing --corpus FILE [--abstracts 200] [--file FILE …] [--rounds 3]

The corpus is JSON lines with `title` and `text` (BEIR's `corpus.jsonl`). The embedder alone gets the same chunks: they
are cut and turned into tokens before the clock runs.
"""

from __future__ import annotations

import json
import mimetypes
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path

import click
from rich.console import Console

from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.generation import Priority
from secureai_appliance.knowledge import embedding
from tests.support.knowledge import form, upload_form
from tests.support.running import Running, running

BASES = "/api/v1/knowledge"
MODEL = "all-minilm-l6-v2"
_AT_ONCE = 64
_IN_A_FORM = 100
_number = count()

File = tuple[str, bytes, str]


def index(api: Running, files: list[File]) -> tuple[float, str]:
    """Upload the files into a new base and wait until they can be found; the seconds, and the base."""
    base = f"{BASES}/{api.ask('POST', BASES, {'name': f'bench {next(_number)}'}).json['id']}"
    begun = time.monotonic()
    for start in range(0, len(files), _IN_A_FORM):
        assert upload_form(api, f"{base}/documents", form(*files[start : start + _IN_A_FORM])).status == 201
    while api.ask("GET", base).json["status"] != "ready":
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    states = [each["status"] for each in api.ask("GET", f"{base}/documents?page_size=100").json["data"]]
    assert set(states) == {"indexed"}, states
    return seconds, base


def passages(api: Running, base: str) -> list[str]:
    """What was embedded: each chunk below its headings."""
    with api.appliance.store.read() as db:
        rows = db.all(
            "SELECT heading, text FROM chunks JOIN documents ON documents.id = document_id WHERE base_id = ?",
            base.removeprefix(f"{BASES}/"),
        )
    return [f"{heading}\n{text}" if heading else text for heading, text in rows]


def alone(model: Embedder, tokens: list[list[int]]) -> float:
    begun = time.monotonic()
    for start in range(0, len(tokens), _AT_ONCE):
        model.embed(tokens[start : start + _AT_ONCE], priority=Priority.INDEXING)
    return time.monotonic() - begun


def compare(api: Running, model: Embedder, files: list[File], rounds: int) -> str:
    whole, raw, chunks = [], [], 0
    for _ in range(rounds):
        seconds, base = index(api, files)
        tokens = sorted((embedding.tokens(model, each) for each in passages(api, base)), key=len)
        assert api.ask("DELETE", base).status == 204
        whole.append(seconds)
        raw.append(alone(model, tokens))
        chunks = len(tokens)
    ratio = statistics.median(its_raw / its_whole for its_raw, its_whole in zip(raw, whole, strict=True))
    seconds = statistics.median(whole)
    return (
        f"{len(files)} files, {chunks} chunks: {seconds:.1f} s, {chunks / seconds:.1f} chunks/s;"
        f" the embedder alone {chunks / statistics.median(raw):.1f} chunks/s; ratio {ratio:.2f}"
    )


@click.command()
@click.option("--corpus", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--abstracts", default=200, show_default=True)
@click.option("--file", "paths", type=click.Path(exists=True, path_type=Path), multiple=True)
@click.option("--rounds", default=3, show_default=True)
def main(corpus: Path, abstracts: int, paths: tuple[Path, ...], rounds: int) -> None:
    console = Console(width=120)
    with corpus.open("rb") as lines:
        texts = [json.loads(line) for _, line in zip(range(abstracts), lines, strict=False)]
    files: list[File] = [
        (f"{each['_id']}.md", f"# {each['title']}\n\n{each['text']}".encode(), "text/markdown") for each in texts
    ]
    with (
        tempfile.TemporaryDirectory() as data,
        running(Path(data) / "data", threads=0) as api,
        embedding.embedder(api.appliance.store, api.appliance.models, MODEL) as model,
    ):
        index(api, [("first.txt", b"The model is loaded now.", "text/plain")])
        console.print(f"abstracts: {compare(api, model, files, rounds)}")
        for path in paths:
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            one = [(path.name, path.read_bytes(), kind)]
            console.print(f"{path.name}: {compare(api, model, one, rounds)}")
        times = []
        _, base = index(api, files[:100])
        for each in texts[:100]:
            begun = time.monotonic()
            body = {"query": each["title"][:100], "mode": "vector"}
            assert api.ask("POST", f"{base}/search", body).status == 200
            times.append(time.monotonic() - begun)
        console.print(f"a vector query: median {statistics.median(times) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
