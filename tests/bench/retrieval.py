"""SciFact through the appliance's own HTTP API: upload, index, search; nDCG@10 of each mode and how long it took.

    .venv/bin/python -m tests.bench.retrieval FOLDER [--only N] [--data FOLDER]
        [--rerank FILE] [--queries N]

The folder holds the corpus in BEIR's form: `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`. With `--data` the
appliance's own folder is kept, and what is indexed in it already is only searched. With `--rerank`, a rerank model's
GGUF, searches are measured with and without it.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.support.knowledge import form, upload_form
from tests.support.running import Running, running

BASES = "/api/v1/knowledge"
AT_ONCE = 100
DEPTH = 10
RERANK = "bench-reranker"


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def relevant(path: Path) -> dict[str, dict[str, int]]:
    """Query id → document id → grade."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text("utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        found[query][document] = int(grade)
    return found


def ndcg(ranking: list[str], grades: dict[str, int]) -> float:
    gain = sum(grades.get(document, 0) / math.log2(place + 1) for place, document in enumerate(ranking[:DEPTH], 1))
    ideal = sum(
        grade / math.log2(place + 1) for place, grade in enumerate(sorted(grades.values(), reverse=True)[:DEPTH], 1)
    )
    return gain / ideal if ideal else 0.0


def fill(api: Running, base: str, corpus: list[dict[str, str]]) -> float:
    """Upload everything and wait until it can be found; the seconds."""
    begun = time.monotonic()
    for start in range(0, len(corpus), AT_ONCE):
        files = [
            (f"{each['_id']}.md", f"# {each['title']}\n\n{each['text']}".encode(), "text/markdown")
            for each in corpus[start : start + AT_ONCE]
        ]
        made = upload_form(api, f"{base}/documents", form(*files))
        assert made.status == 201, made.body
    while api.ask("GET", base).json["status"] != "ready":
        time.sleep(0.5)
    return time.monotonic() - begun


def choose_reranker(api: Running, file: Path | None) -> None:
    """Import the model if it is not there, and have searches put into order by it."""
    if file is not None and api.ask("GET", f"/api/v1/models/{RERANK}").status != 200:
        shutil.copy(file, api.appliance.settings.data_folder.import_ / f"{RERANK}.gguf")
        made = api.ask("POST", "/api/v1/models", {"file": f"{RERANK}.gguf"})
        assert made.status == 201, made.body
    chosen = {"value": RERANK if file is not None else ""}
    assert api.ask("PUT", "/api/v1/configs/knowledge.rerank_model", chosen).status == 200


def measure(api: Running, base: str, queries: dict[str, str], grades: dict[str, dict[str, int]], table: Table) -> None:
    modes: dict[str, dict[str, object]] = {
        mode: {"mode": mode, "rerank": False} for mode in ("hybrid", "vector", "keyword")
    }
    if api.appliance.configs.value("knowledge.rerank_model"):
        modes["hybrid, reranked"] = {"mode": "hybrid", "rerank": True}
    for mode, fields in modes.items():
        scores, times = [], []
        for query, text in queries.items():
            begun = time.monotonic()
            answer = api.ask("POST", f"{base}/search", {"query": text, "top_k": 30, "per_document": 1} | fields)
            times.append(time.monotonic() - begun)
            ranking = dict.fromkeys(hit["filename"].removesuffix(".md") for hit in answer.json["data"])
            scores.append(ndcg(list(ranking), grades[query]))
        table.add_row(mode, f"{statistics.mean(scores):.4f}", f"{statistics.median(times) * 1000:.1f}")


def run(api: Running, corpus: list[dict[str, str]], queries: dict[str, str], grades: dict[str, dict[str, int]]) -> None:
    known = api.ask("GET", BASES).json["data"]
    identity = known[0]["id"] if known else api.ask("POST", BASES, {"name": "scifact"}).json["id"]
    base = f"{BASES}/{identity}"
    seconds = 0.0 if known else fill(api, base, corpus)
    shown = api.ask("GET", base).json
    table = Table(
        title=f"{shown['document_count']} documents, {shown['chunk_count']} chunks: indexed in {seconds:.0f} s"
    )
    for column in ("mode", "nDCG@10", "median ms"):
        table.add_column(column)
    measure(api, base, queries, grades, table)
    Console().print(table)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--only", type=int, help="So many documents; all without it.")
@click.option("--data", type=click.Path(path_type=Path), help="The appliance's folder, kept for the next time.")
@click.option("--queries", "asked", type=int, help="So many of the claims; all without it.")
@click.option("--rerank", type=click.Path(exists=True, path_type=Path), help="A rerank model's GGUF.")
def main(folder: Path, only: int | None, data: Path | None, rerank: Path | None, asked: int | None) -> None:
    corpus, grades = lines(folder / "corpus.jsonl"), relevant(folder / "qrels" / "test.tsv")
    corpus = corpus[:only]
    queries = {each["_id"]: each["text"] for each in lines(folder / "queries.jsonl") if each["_id"] in grades}
    queries = dict(islice(queries.items(), asked))
    with tempfile.TemporaryDirectory() as made:
        kept = data or Path(made)
        kept.mkdir(exist_ok=True)
        key = kept / "key"
        with running(kept / "data", threads=0, key=key.read_text() if key.exists() else "") as api:
            key.write_text(api.key)
            choose_reranker(api, rerank)
            run(api, corpus, queries, grades)


if __name__ == "__main__":
    main()
