"""Answers from documents through the appliance's own HTTP API: which questions are answered, and which rightly not.

On the workshop's documents of the tests, and with a folder of BEIR's SciFact on 400 abstracts: claims that they tell
of, claims on other biomedical findings, and questions on other things. Printed for several `min_score`, with the time
of an answer to which the model adds nothing. `--model` has the bundled model answer the workshop's questions, too, and
summarise a document.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.retrieval import fill, lines, relevant
from tests.support.knowledge import form, ready, upload_form
from tests.support.running import Running, running
from tests.support.scripted import scripted
from tests.support.scripted_model import Model
from tests.support.workshop import ANSWERABLE, HANDBOOK, UNANSWERABLE, letter, manual

BASES = "/api/v1/knowledge"
SCORES = (0.3, 0.35, 0.4, 0.45, 0.5)
ANSWERED, OTHERS = 120, 270


def asked(api: Running, model: str, base: str, question: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    body = {"model": model, "messages": messages, "knowledge_base_ids": [base], **fields}
    answer = api.ask("POST", "/api/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    return answer.json


def scores(api: Running, model: str, base: str, questions: Sequence[str]) -> tuple[list[float], float]:
    """How relevant the best passage is to each question, and the median seconds of an answer."""
    found, times = [], []
    for question in questions:
        begun = time.monotonic()
        found.append(asked(api, model, base, question)["retrieval"]["best_score"] or 0.0)
        times.append(time.monotonic() - begun)
    return found, statistics.median(times)


def table_of(title: str, groups: Mapping[str, tuple[list[float], float]]) -> Table:
    table = Table("min_score", *groups, title=title)
    for least in SCORES:
        shares = []
        for name, (found, _) in groups.items():
            answered = sum(score >= least for score in found)
            right = answered if name.startswith("answered") else len(found) - answered
            shares.append(f"{right / len(found):.0%}")
        table.add_row(f"{least}", *shares)
    table.add_row("median ms", *(f"{seconds * 1000:.0f}" for _, seconds in groups.values()))
    return table


def workshop(api: Running) -> str:
    base: str = api.ask("POST", BASES, {"name": "workshop"}).json["id"]
    files = form(
        ("manual.pdf", manual(), "application/pdf"),
        ("handbook.md", HANDBOOK.encode(), "text/markdown"),
        ("reminder.docx", letter(), ""),
    )
    assert upload_form(api, f"{BASES}/{base}/documents", files).status == 201
    ready(api, f"{BASES}/{base}")
    return base


def scifact(api: Running, model: str, folder: Path) -> Table:
    corpus, grades = lines(folder / "corpus.jsonl"), relevant(folder / "qrels" / "test.tsv")
    claims = {each["_id"]: each["text"] for each in lines(folder / "queries.jsonl") if each["_id"] in grades}
    order = sorted(claims, key=int)
    there = {document for claim in order[:ANSWERED] for document in grades[claim]}
    told = {document for claim in order for document in grades[claim]}
    others = [each for each in corpus if each["_id"] not in told][:OTHERS]
    base = api.ask("POST", BASES, {"name": "scifact"}).json["id"]
    fill(api, f"{BASES}/{base}", [*(each for each in corpus if each["_id"] in there), *others])
    foreign = [claims[claim] for claim in order[ANSWERED:] if not there.intersection(grades[claim])]
    groups = {
        "answered: claims told of": scores(api, model, base, [claims[claim] for claim in order[:ANSWERED]]),
        "refused: other findings": scores(api, model, base, foreign),
        "refused: other things": scores(api, model, base, UNANSWERABLE),
    }
    return table_of("SciFact, 400 abstracts", groups)


def bundled(api: Running, base: str) -> Table:
    """The bundled model on the workshop's questions."""
    table = Table("question", "answer", "right", "cites", title="the bundled model")
    right = cites = 0
    for question, fact in ANSWERABLE.items():
        answer = asked(api, "default", base, question, temperature=0, max_tokens=60)
        said = answer["choices"][0]["message"]["content"]
        is_right, is_cited = fact.lower() in said.lower(), any(each["cited"] for each in answer["citations"])
        right, cites = right + is_right, cites + is_cited
        table.add_row(question, said[:120], "yes" if is_right else "", "yes" if is_cited else "")
    table.add_row("", "", f"{right} of {len(ANSWERABLE)}", f"{cites} of {len(ANSWERABLE)}")
    return table


def summaries(api: Running, base: str) -> Table:
    """The bundled model asked for a summary of the manual: seconds until its first token, and what it read."""
    table = Table("document_tokens", "prompt tokens", "share read", "sources", "seconds", title="a summary of 40 pages")
    for most in (500, 1000, 2000):
        begun = time.monotonic()
        retrieval = {"document_tokens": most}
        answer = asked(api, "default", base, "Summarise manual.pdf", max_tokens=1, retrieval=retrieval)
        seconds, retrieved = time.monotonic() - begun, answer["retrieval"]
        share = f"{retrieved['coverage']['share']:.0%}"
        table.add_row(
            *(str(most), str(answer["usage"]["prompt_tokens"]), share, str(retrieved["sources"]), f"{seconds:.1f}")
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="SciFact in BEIR's form")
    parser.add_argument("--model", action="store_true", help="have the bundled model answer, too")
    chosen = parser.parse_args()
    console = Console()
    with (
        tempfile.TemporaryDirectory() as data,
        running(Path(data) / "data", threads=0) as api,
        scripted(Model()) as server,
    ):
        remote = {"base_url": f"{server.url}/v1", "model": "theirs"}
        assert api.ask("POST", "/api/v1/models", {"name": "scripted", "remote": remote}).status == 201
        base = workshop(api)
        groups = {
            "answered: 12 questions": scores(api, "scripted", base, list(ANSWERABLE)),
            "refused: 50 questions": scores(api, "scripted", base, UNANSWERABLE),
        }
        console.print(table_of("the workshop's documents", groups))
        if chosen.model:
            console.print(bundled(api, base))
            console.print(summaries(api, base))
        if chosen.folder is not None:
            console.print(scifact(api, "scripted", chosen.folder))


if __name__ == "__main__":
    main()
