"""100,000 chunks in one base: how long a search takes while documents are being indexed, and what the signs miss.

Vectors are made up: mixtures of a few thousand directions, as passages about related things are. Texts are made of
words as frequent as those of a language. Both go into the index through the code that ingest uses.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.knowledge import index, indexes
from secureai_appliance.knowledge import vectors as leg
from secureai_appliance.knowledge.index import Entry
from secureai_appliance.knowledge.terms import query_terms, terms
from tests.support.knowledge import upload_file
from tests.support.models import EMBEDDING
from tests.support.running import Running, running

CHUNKS = 100_000
IN_A_DOCUMENT = 50
DIMENSION = 384
DIRECTIONS = 3000
WORDS = 20_000
IN_A_TEXT = 150
IN_A_QUERY = 8
TELLING = 100
QUERIES = 100
BASES = "/api/v1/knowledge"

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating[Any]]) -> Vectors:
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def make_vectors(random: np.random.Generator, count: int, directions: Vectors) -> Vectors:
    mixed = directions[random.integers(0, len(directions), (count, 3))].sum(axis=1)
    return unit(mixed + random.normal(0, 0.06, (count, DIMENSION)))


def known_words() -> list[str]:
    """Words that the embedding model knows, so that a query has as many tokens as people's queries have."""
    embedder = Embedder(EMBEDDING)
    pieces = [embedder.vocabulary.piece(token).decode("utf-8", "ignore") for token in range(embedder.vocabulary.size)]
    embedder.close()
    return [piece[1:] for piece in pieces if piece.startswith(" ") and piece[1:].isalpha() and len(piece) > 3][:WORDS]


def make_texts(random: np.random.Generator, words: list[str], count: int, length: int, first: int = 0) -> list[str]:
    """Texts of words as frequent as in a language; of a query, those that tell nothing are left out already."""
    shares = 1 / (np.arange(len(words)) + 3)
    shares[:first] = 0
    numbers = random.choice(len(words), (count, length), p=shares / shares.sum())
    return [" ".join(words[number] for number in row) for row in numbers]


def fill(api: Running, base_id: str, vectors: Vectors, texts: list[str]) -> None:
    store = api.appliance.store
    for start in range(0, len(texts), IN_A_DOCUMENT):
        part = range(start, min(start + IN_A_DOCUMENT, len(texts)))
        entries = [Entry(texts[n], 0, len(texts[n]), None, "", terms(texts[n]), vectors[n]) for n in part]
        with store.transaction() as tx:
            document = f"doc-{start}"
            tx.run("INSERT INTO blobs (created_at) VALUES (?)", tx.now())
            blob = tx.value("SELECT last_insert_rowid()")
            tx.run(
                "INSERT INTO documents (id, base_id, filename, content_type, size_bytes, sha256, blob_id, status,"
                " chunk_count, created_at, updated_at) VALUES (?, ?, ?, 'text/plain', 1, ?, ?, 'indexed', ?, 0, 0)",
                *(document, base_id, document, document, blob, len(entries)),
            )
            index.put(tx, indexes.active(tx, base_id), document, entries)


def recall(
    api: Running, base_id: str, vectors: Vectors, queries: Vectors, candidates: int | None
) -> tuple[float, float]:
    """recall@10 of the vector leg against all of the vectors, and its median milliseconds."""
    found, times = 0, []
    for query in queries:
        exact = set(np.argsort(-(vectors @ query))[:10].tolist())
        begun = time.monotonic()
        with api.appliance.store.read() as db:
            now = indexes.active(db, base_id)
            hits = leg.nearest(db, now, query, count=10, candidates=candidates)
            times.append(time.monotonic() - begun)
            first = db.value("SELECT MIN(row_id) FROM chunks WHERE index_id = ?", now.row_id)
        found += len(exact & {hit.row_id - first for hit in hits})
    return found / (10 * len(queries)), statistics.median(times) * 1000


def keyword(api: Running, base_id: str, texts: list[str]) -> float:
    times = []
    for text in texts:
        begun = time.monotonic()
        with api.appliance.store.read() as db:
            index.matching(db, indexes.active(db, base_id), query_terms(text), 100)
        times.append(time.monotonic() - begun)
    return statistics.median(times) * 1000


def hybrid(api: Running, base: str, asked: list[str]) -> str:
    times = []
    for text in asked:
        begun = time.monotonic()
        assert api.ask("POST", f"{base}/search", {"query": text}).status == 200
        times.append(time.monotonic() - begun)
    times.sort()
    return f"median {statistics.median(times) * 1000:.1f} ms, p95 {times[len(times) * 95 // 100] * 1000:.1f} ms"


@click.command()
@click.option("--chunks", default=CHUNKS, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="The appliance's folder, kept for the next time.")
def main(chunks: int, data: Path | None) -> None:
    random = np.random.default_rng(7)
    console = Console(width=120)
    directions = unit(random.normal(0, 1, (DIRECTIONS, DIMENSION)))
    vectors, queries = make_vectors(random, chunks, directions), make_vectors(random, QUERIES, directions)
    words = known_words()
    asked = make_texts(random, words, QUERIES, IN_A_QUERY, TELLING)
    with tempfile.TemporaryDirectory() as made:
        kept = data or Path(made)
        kept.mkdir(exist_ok=True)
        key = kept / "key"
        with running(kept / "data", threads=0, key=key.read_text() if key.exists() else "") as api:
            key.write_text(api.key)
            known = api.ask("GET", f"{BASES}/large")
            base_id = (known if known.status == 200 else api.ask("POST", BASES, {"name": "large"})).json["id"]
            if known.status == 404:
                begun = time.monotonic()
                fill(api, base_id, vectors, make_texts(random, words, chunks, IN_A_TEXT))
                console.print(f"{chunks} chunks put in in {time.monotonic() - begun:.0f} s")
            for candidates in (256, 512, 1024, 2048, None):
                share, milliseconds = recall(api, base_id, vectors, queries, candidates)
                name = f"{candidates or 'by size'} candidates"
                console.print(f"vectors, {name}: recall@10 {share:.4f}, median {milliseconds:.1f} ms")
            console.print(f"words: median {keyword(api, base_id, asked):.1f} ms")
            base = f"{BASES}/{base_id}"
            console.print(f"hybrid over HTTP: {hybrid(api, base, asked)}")
            other = f"{BASES}/{api.ask('POST', BASES, {'name': f'other {time.time()}'}).json['id']}"
            for number in range(60):
                upload_file(api, f"{other}/documents", f"{make_texts(random, words, 1, 1500)[0]} {number}")
            console.print(f"hybrid over HTTP while documents are indexed: {hybrid(api, base, asked)}")
            assert api.ask("GET", other).json["status"] != "ready", "the documents were too few"
            assert api.ask("DELETE", other).status == 204


if __name__ == "__main__":
    main()
