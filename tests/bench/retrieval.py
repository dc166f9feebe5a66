"""SciFact through the appliance's own HTTP API: upload, index, search; nDCG@10 of each mode and how long it took.

The folder holds the corpus in BEIR's form: `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.knowledge import form, upload_form
from tests.support.running import Running, running

BASES = "/api/v1/knowledge"
AT_ONCE = 100
DEPTH = 10


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


def main(folder: Path, only: int | None) -> None:
    corpus, grades = lines(folder / "corpus.jsonl"), relevant(folder / "qrels" / "test.tsv")
    corpus = corpus[:only] if only else corpus
    queries = {each["_id"]: each["text"] for each in lines(folder / "queries.jsonl") if each["_id"] in grades}
    with tempfile.TemporaryDirectory() as data, running(Path(data) / "data", threads=0) as api:
        base = f"{BASES}/{api.ask('POST', BASES, {'name': 'scifact'}).json['id']}"
        seconds = fill(api, base, corpus)
        shown = api.ask("GET", base).json
        table = Table(title=f"{len(corpus)} documents, {shown['chunk_count']} chunks: indexed in {seconds:.0f} s")
        for column in ("mode", "nDCG@10", "median ms"):
            table.add_column(column)
        for mode in ("hybrid", "vector", "keyword"):
            scores, times = [], []
            for query, text in queries.items():
                begun = time.monotonic()
                answer = api.ask(
                    "POST", f"{base}/search", {"query": text, "mode": mode, "top_k": 30, "per_document": 1}
                )
                times.append(time.monotonic() - begun)
                ranking = dict.fromkeys(hit["filename"].removesuffix(".md") for hit in answer.json["data"])
                scores.append(ndcg(list(ranking), grades[query]))
            table.add_row(mode, f"{statistics.mean(scores):.4f}", f"{statistics.median(times) * 1000:.1f}")
        Console().print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
