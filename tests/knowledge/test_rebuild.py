"""While a base's embedding model changes, each search is answered wholly from the old index or wholly from the new."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.knowledge import bases, documents
from secureai_appliance.knowledge.bases import KnowledgeCreate, KnowledgePatch
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.knowledge.ingest import Ingest
from secureai_appliance.knowledge.passages import Found, SearchRequest
from secureai_appliance.knowledge.search import search
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

DIMENSIONS = {"old-model": 64, "new-model": 32}
DOCUMENTS = 40
SEARCHERS = 3
SEALER = Sealer(bytes(32))


class MadeUp(Embedder):
    """Vectors of any length that no model computes: those of words, added up."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.max_tokens = 512
        self.vocabulary: Any = SimpleNamespace(control=frozenset())

    def tokenize(self, text: str) -> list[int]:
        return [0, *(sum(word.encode()) for word in text.split()[:300]), 0]

    def embed(self, inputs: Any, *_: Any, **__: Any) -> Any:
        made = []
        for tokens in inputs:
            total = sum(np.random.default_rng(token).normal(size=self.dimension) for token in tokens)
            made.append((total / np.linalg.norm(total)).astype(np.float32))
        return made


class Models:
    """Both models, always at hand."""

    def __init__(self) -> None:
        self._loaded = {name: MadeUp(dimension) for name, dimension in DIMENSIONS.items()}

    def embedding(self, row: Any) -> Any:
        return SimpleNamespace(wait=lambda _: self._loaded[row.id])

    def held(self, row: object) -> Models:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def owner(store: Store) -> Caller:
    with store.transaction() as tx:
        for name in DIMENSIONS:
            tx.run(
                "INSERT INTO models (id, kind, file, sha256, size_bytes, owned_by, license, architecture,"
                " context_length, parameters, quantization, source, created_at, updated_at)"
                " VALUES (?, 'embedding', ?, '', 1, 'test', NULL, 'bert', 512, 1, 'Q8_0', 'bundled', 0, 0)",
                *(name, name),
            )
        return users.caller_of(tx, users.create(tx, email="a@example.test", name="A", role="user").id)


def fill(store: Store, owner: Caller) -> str:
    files = []
    for number in range(DOCUMENTS):
        blob = BlobWriter(store)
        blob.write(f"The pump of hall {number} is greased every {number + 3} days.".encode())
        files.append(NewFile(f"{number}.txt", "text/plain", blob))
    with store.transaction() as tx:
        base = bases.create(tx, owner, KnowledgeCreate(name="base"), "old-model").id
        documents.add(tx, owner, base, files, sealer=SEALER, password=None)
    return base


def test_results_are_wholly_old_or_wholly_new(store: Store, clock: FakeClock, owner: Caller, tmp_path: Path) -> None:
    models: Any = Models()
    ingest = Ingest(store, clock, models, SEALER, tmp_path)
    base = fill(store, owner)
    while ingest.work():
        pass
    found: list[Found] = []
    begun, done = threading.Barrier(SEARCHERS + 1), threading.Event()

    def ask(number: int) -> None:
        body = SearchRequest(query=f"pump of hall {number}", top_k=100, per_document=100, explain=True)
        begun.wait()
        while True:
            last = done.is_set()
            found.append(search(store, models, owner, [base], body))
            if last:
                return

    searchers = [threading.Thread(target=ask, args=(number,)) for number in range(SEARCHERS)]
    for searcher in searchers:
        searcher.start()
    begun.wait()
    with store.transaction() as tx:
        bases.patch(tx, owner, base, KnowledgePatch(embedding_model="new-model"))
    while ingest.work():
        pass
    done.set()
    for searcher in searchers:
        searcher.join()

    with store.read() as db:
        model_of: dict[str, str] = dict(
            db.all("SELECT chunks.id, embedding_model FROM chunks JOIN knowledge_indexes AS i ON i.row_id = index_id")
        )
    seen = set()
    for each in found:
        assert each.trace is not None
        assert len({hit.document_id for hit in each.data}) == DOCUMENTS
        assert {model_of[hit.chunk_id] for hit in each.data} == set(each.trace.embedding_models)
        seen |= set(each.trace.embedding_models)
    assert seen == set(DIMENSIONS)
