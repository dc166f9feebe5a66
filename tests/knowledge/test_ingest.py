"""Jobs: interrupted anywhere, a document is there wholly or not at all, and no file holds up the next (P34, P35)."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.knowledge import bases, blobs, documents, embedding, index, indexes, steps
from secureai_appliance.knowledge.bases import KnowledgeCreate, KnowledgePatch
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import Document, NewFile
from secureai_appliance.knowledge.indexes import Chunking
from secureai_appliance.knowledge.ingest import Ingest
from secureai_appliance.knowledge.jobs import LEASE_SECONDS, MOST_ATTEMPTS
from secureai_appliance.store import ListQuery, Store
from tests.support.clock import FakeClock
from tests.support.knowledge import MODEL, add_embedding_model

SEALER = Sealer(bytes(32))


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


@pytest.fixture
def owner(store: Store) -> Caller:
    with store.transaction() as tx:
        add_embedding_model(tx)
        return users.caller_of(tx, users.create(tx, email="a@example.test", name="A", role="user").id)


@pytest.fixture
def base(store: Store, owner: Caller) -> str:
    with store.transaction() as tx:
        return bases.create(tx, owner, KnowledgeCreate(name="base"), MODEL).id


class Models:
    """The bundled embedding model, always at hand."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embedding(self, row: object) -> Models:
        return self

    def wait(self, timeout: float) -> Embedder:
        return self._embedder

    def held(self, row: object) -> Models:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def ingest(store: Store, clock: FakeClock, embedder: Embedder, tmp_path: Path) -> Ingest:
    return Ingest(store, clock, Models(embedder), SEALER, tmp_path)  # type: ignore[arg-type]


def add(store: Store, owner: Caller, base: str, *texts: str) -> list[str]:
    files = []
    for number, text in enumerate(texts):
        blob = BlobWriter(store)
        blob.write(text.encode())
        files.append(NewFile(f"{number}.txt", "text/plain", blob))
    with store.transaction() as tx:
        return [each.id for each in documents.add(tx, owner, base, files, sealer=SEALER, password=None)]


def test_of_much_data_all_is_found_by_its_words_and_some_by_its_meaning(
    store: Store, owner: Caller, base: str, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "_MOST_DATA", 2)
    block = base64.b64encode(random.Random(1).randbytes(6000)).decode()
    text = f"The key of the vault follows.\n\n{block}\n\nThe key of the vault ends here.\n\n{block[::-1]} Q7X-4711"
    document = add(store, owner, base, text)[0]
    while ingest.work():
        pass
    now = shown(store, owner, document)
    chunks, vectors, signs, words = counts(store, base)
    assert (now.status, now.chunk_count) == ("indexed", chunks)
    assert words == chunks > 20
    assert vectors == signs < 10
    assert now.metadata["note"].startswith(f"{chunks - vectors} of {chunks} passages are data")
    with store.read() as db:
        into = indexes.active(db, base)
        for sought in (["vault"], ["4711"]):
            assert index.matching(db, into, [sought], 5), sought
    with store.transaction() as tx:
        documents.delete(tx, owner, now)
    assert counts(store, base) == (0, 0, 0, 0)


def shown(store: Store, owner: Caller, document: str) -> Document:
    with store.read() as db:
        return documents.get(db, owner, document)


def counts(store: Store, base: str) -> tuple[int, int, int, int]:
    """Chunks, their vectors, signs and words, in the index that is searched."""
    with store.read() as db:
        now = indexes.active(db, base)
        signs = db.value("SELECT COALESCE(SUM(size - dead), 0) FROM vector_blocks WHERE index_id = ?", now.row_id)
        return (
            db.value("SELECT COUNT(*) FROM chunks WHERE index_id = ?", now.row_id),
            db.value(
                "SELECT COUNT(*) FROM chunk_vectors JOIN chunks ON chunks.row_id = chunk_row_id WHERE index_id = ?",
                now.row_id,
            ),
            signs,
            db.value(f"SELECT COUNT(*) FROM {indexes.terms_table(now.row_id)}") if now.dimension else 0,
        )


LONG = "\n\n".join(f"Paragraph {number} is about part BP{number}." for number in range(80))


@pytest.mark.parametrize("where", ["extracting", "embedding", "in the last transaction"])
def test_a_kill_at_any_step_leaves_nothing_to_be_found_and_the_next_start_finishes(
    store: Store,
    clock: FakeClock,
    owner: Caller,
    base: str,
    ingest: Ingest,
    *,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (document,) = add(store, owner, base, LONG)

    def kill(*_: object, **__: object) -> None:
        raise Killed

    place = {"extracting": (blobs, "unpack"), "embedding": (embedding, "vectors")}.get(where)
    with monkeypatch.context() as patched:
        if place is None:
            real = index.put

            def half(tx: object, *rest: object) -> None:
                real(tx, *rest)  # type: ignore[arg-type]
                raise Killed

            patched.setattr(index, "put", half)
        else:
            patched.setattr(*place, kill)
        with pytest.raises(Killed):
            ingest.work()
    assert counts(store, base) == (0, 0, 0, 0)
    assert not ingest.work()  # its lease still holds
    clock.advance(LEASE_SECONDS + 1)
    assert ingest.work()
    done = shown(store, owner, document)
    assert done.status == "indexed"
    assert set(counts(store, base)) == {done.chunk_count}
    assert not ingest.work()


def test_a_file_that_ends_the_process_each_time_fails_and_the_next_is_read(
    store: Store, clock: FakeClock, owner: Caller, base: str, ingest: Ingest, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    (poison,) = add(store, owner, base, "poison " * 60_000)
    real = blobs.unpack

    def unpack(store: Store, blob_id: int, path: Path) -> None:
        real(store, blob_id, path)
        if path.stat().st_size > 100_000:
            raise Killed

    monkeypatch.setattr(blobs, "unpack", unpack)
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(Killed):
            ingest.work()
        clock.advance(LEASE_SECONDS + 1)
    (good,) = add(store, owner, base, "good")
    while ingest.work():
        pass
    failed = shown(store, owner, poison)
    assert failed.error is not None
    assert (failed.status, failed.error.code) == ("failed", "resource_limit")
    assert shown(store, owner, good).status == "indexed"


def test_reading_again_replaces_and_deleting_leaves_nothing(
    store: Store, owner: Caller, base: str, ingest: Ingest
) -> None:
    first, second = add(store, owner, base, LONG, "Another one.")
    ingest.work()
    before = counts(store, base)
    with store.transaction() as tx:
        documents.reindex(tx, owner, documents.get(tx, owner, first))
    ingest.work()
    assert counts(store, base) == before
    with store.transaction() as tx:
        for document in (first, second):
            documents.delete(tx, owner, documents.get(tx, owner, document))
    assert counts(store, base) == (0, 0, 0, 0)
    assert blobs.sweep(store, all_unfinished=True)
    while blobs.sweep(store, all_unfinished=True):
        pass
    with store.read() as db:
        assert db.value("SELECT COUNT(*) FROM blob_pieces") == 0


def test_what_is_cancelled_while_it_is_read_is_not_found(
    store: Store, owner: Caller, base: str, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (document,) = add(store, owner, base, LONG)
    real = embedding.vectors

    def cancelled_meanwhile(*arguments: object, **options: object) -> object:
        with store.transaction() as tx:
            documents.cancel(tx, owner, documents.get(tx, owner, document))
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(embedding, "vectors", cancelled_meanwhile)
    assert ingest.work()
    assert shown(store, owner, document).status == "cancelled"
    assert counts(store, base) == (0, 0, 0, 0)


def test_a_rebuilt_index_takes_over_when_the_last_document_is_in_it(
    store: Store, owner: Caller, base: str, ingest: Ingest
) -> None:
    add(store, owner, base, *(f"{LONG} {number}" for number in range(3)))
    while ingest.work():
        pass
    with store.read() as db:
        old = indexes.active(db, base).row_id
    with store.transaction() as tx:
        bases.patch(tx, owner, base, KnowledgePatch(chunking=Chunking(size=48, overlap=0)))
        assert indexes.active(tx, base).row_id == old
    before = counts(store, base)
    while ingest.work():
        with store.read() as db:
            left = db.value("SELECT COUNT(*) FROM ingest_jobs")
        assert (counts(store, base) == before) == (left > 0)
    while index.sweep(store):
        pass
    with store.read() as db:
        assert db.value("SELECT COUNT(*) FROM knowledge_indexes") == 1
        assert db.value("SELECT COUNT(*) FROM chunks WHERE index_id = ?", old) == 0
        listed = documents.list_(db, owner, documents.DocumentQuery())
    assert sum(each.chunk_count for each in listed.data) == counts(store, base)[0]
    assert ListQuery().page == listed.page
