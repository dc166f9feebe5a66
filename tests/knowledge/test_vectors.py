"""Vectors of an index: the nearest are found, and blocks stay few and full whatever comes and goes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np
import pytest
import sqlite_vec
from numpy.typing import NDArray

from secureai_appliance.knowledge import vectors
from secureai_appliance.knowledge.indexes import Chunking, Index
from secureai_appliance.store import Reader, Store
from tests.support.clock import FakeClock
from tests.support.release_schema import SCHEMAS

DIMENSION = 64
INDEX = Index(1, "m", DIMENSION, Chunking())
OTHER = Index(2, "m", DIMENSION, Chunking())

Vectors = NDArray[np.float32]


def made(count: int, seed: int = 0, dimension: int = DIMENSION) -> Vectors:
    found = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    lengths: Vectors = np.linalg.norm(found, axis=1, keepdims=True)
    return found / lengths


def put(store: Store, index: Index, first: int, found: Vectors) -> list[int]:
    row_ids = list(range(first, first + len(found)))
    with store.transaction() as tx:
        vectors.put(tx, index.row_id, row_ids, list(found))
    return row_ids


def remove(store: Store, row_ids: Sequence[int], index: Index = INDEX) -> None:
    with store.transaction() as tx:
        vectors.remove(tx, index.row_id, row_ids)


def nearest(store: Store, vector: Vectors, count: int = 10, candidates: int | None = None) -> list[int]:
    with store.read() as db:
        return [hit.row_id for hit in vectors.nearest(db, INDEX, vector, count=count, candidates=candidates)]


def exact(found: dict[int, Vectors], vector: Vectors, count: int = 10) -> list[int]:
    return sorted(found, key=lambda row_id: -float(found[row_id] @ vector))[:count]


def sizes(db: Reader) -> list[tuple[int, int]]:
    return [(size, dead) for size, dead in db.all("SELECT size, dead FROM vector_blocks ORDER BY index_id, first")]


def test_a_small_index_is_searched_exactly(store: Store) -> None:
    found = made(900)
    known = dict(zip(put(store, INDEX, 1, found), found, strict=True))
    for query in made(20, seed=1):
        assert nearest(store, query) == exact(known, query)


@pytest.mark.parametrize("dimension", [8, 24, 48, 96, 384])
def test_vectors_of_any_length_are_found_by_themselves(store: Store, dimension: int) -> None:
    found = made(50, dimension=dimension)
    index = Index(1, "m", dimension, Chunking())
    row_ids = put(store, index, 1, found)
    with store.read() as db:
        for row_id, vector in zip(row_ids, found, strict=True):
            best = vectors.nearest(db, index, vector, count=1, candidates=5)[0]
            assert (best.row_id, round(best.score, 5)) == (row_id, 1.0)


def test_candidates_are_those_with_the_same_signs(store: Store) -> None:
    found = made(500)
    row_ids = put(store, INDEX, 1, found)
    for row_id, vector in zip(row_ids, found, strict=True):
        assert nearest(store, vector, candidates=1) == [row_id]


def test_another_index_is_not_looked_into(store: Store) -> None:
    found = made(30)
    put(store, INDEX, 1, found[:10])
    put(store, OTHER, 11, found[10:])
    assert sorted(nearest(store, found[20], count=30)) == list(range(1, 11))


def test_only_what_the_condition_selects_is_found(store: Store) -> None:
    found = made(200)
    put(store, INDEX, 1, found)
    only = ("SELECT value AS row_id FROM json_each(?)", ("[7, 9, 190, 4000]",))
    with store.read() as db:
        hits = vectors.nearest(db, INDEX, found[8], count=10, candidates=5, only=only)
    assert hits[0].row_id == 9
    assert {hit.row_id for hit in hits} == {7, 9, 190}


def test_any_coming_and_going_leaves_what_is_there_and_few_blocks(store: Store) -> None:
    chance, known, first = random.Random(4), dict[int, Vectors](), 1
    documents: list[list[int]] = []
    kept = vectors.Blocks(20_000)
    for step in range(300):
        if chance.random() < 0.45 and documents:
            gone = documents.pop(chance.randrange(len(documents)))
            remove(store, gone)
            for row_id in gone:
                del known[row_id]
        elif documents and chance.random() < 0.2:
            query = made(1, seed=2000 + step)[0]
            with store.read() as db:
                hits = vectors.nearest(db, INDEX, query, count=10, kept=kept)
            assert [hit.row_id for hit in hits] == exact(known, query)
        else:
            found = made(chance.randint(1, 30), seed=step)
            row_ids = put(store, INDEX, first, found)
            documents.append(row_ids)
            known |= zip(row_ids, found, strict=True)
            first += len(found) + chance.randint(0, 5)
    while vectors.tidy(store):
        pass
    for query in made(10, seed=1000):
        assert nearest(store, query) == exact(known, query)
    with store.read() as db:
        blocks = sizes(db)
    assert sum(size - dead for size, dead in blocks) == len(known)
    assert len(blocks) <= len(known).bit_length()
    assert all(dead * 4 <= size for size, dead in blocks)


def test_what_is_gone_takes_no_places_among_the_candidates(store: Store) -> None:
    found = made(100)
    put(store, INDEX, 1, np.repeat(found[:1], 20, axis=0))
    put(store, INDEX, 21, found)
    remove(store, list(range(1, 21)))
    with store.read() as db:
        assert sum(dead for _, dead in sizes(db)) == 20
    assert nearest(store, found[0], count=5, candidates=5)[0] == 21
    assert len(nearest(store, found[0], count=5, candidates=5)) == 5


def test_what_is_kept_of_blocks_has_a_bound() -> None:
    kept = vectors.Blocks(100)
    blocks = [vectors._Block(np.arange(4), np.zeros((4, 8), np.uint8)) for _ in range(3)]
    assert blocks[0].bytes == 64
    kept.keep(1, blocks[0])
    assert kept.find(1) is blocks[0]
    kept.keep(2, blocks[1])
    assert kept.find(1) is None
    assert kept.find(2) is blocks[1]
    vectors.Blocks(0).keep(3, blocks[2])


def test_a_dropped_index_leaves_no_blocks(store: Store) -> None:
    row_ids = put(store, INDEX, 1, made(40))
    with store.transaction() as tx:
        vectors.drop(tx, INDEX.row_id)
        vectors.remove(tx, INDEX.row_id, row_ids)
    with store.read() as db:
        assert [db.value(f"SELECT COUNT(*) FROM {table}") for table in ("vector_blocks", "vector_signs")] == [0, 0]
        assert db.value("SELECT COUNT(*) FROM chunk_vectors") == 0


def test_ten_thousand_vectors_in_small_documents_are_in_few_blocks_and_rarely_written(store: Store) -> None:
    found = made(16)
    for number in range(700):
        put(store, INDEX, 1 + number * 16, found)
    with store.read() as db:
        blocks = sizes(db)
        written = db.value("SELECT seq FROM sqlite_sequence WHERE name = 'vector_blocks'")
    assert sum(size for size, _ in blocks) == 11_200
    assert len(blocks) <= 10
    assert max(size for size, _ in blocks) <= vectors.MOST_IN_A_BLOCK
    assert written == 700


def test_vectors_of_an_older_file_are_found_after_the_update(tmp_path: Path) -> None:
    path = tmp_path / "old" / "secureai.db"
    path.parent.mkdir()
    connection = apsw.Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute((SCHEMAS / "0018.sql").read_text("utf-8")).fetchall()
    connection.execute(
        "CREATE VIRTUAL TABLE vectors_384 USING vec0(chunk_row_id INTEGER PRIMARY KEY,"
        " index_id INTEGER PARTITION KEY, signs bit[384])"
    )
    found = made(300, dimension=384)
    for number, vector in enumerate(found, 1):
        connection.execute(
            "INSERT INTO chunks (row_id, id, index_id, document_id, position, start, end, heading, text)"
            " VALUES (?, ?, 1, 'doc-1', ?, 0, 1, '', '')",
            (number, f"chunk-{number}", number),
        )
        connection.execute("INSERT INTO chunk_vectors VALUES (?, ?)", (number, vector.tobytes()))
        connection.execute(
            "INSERT INTO vectors_384 VALUES (?, 1, vec_bit(?))", (number, vectors.signs(vector).tobytes())
        )
    connection.close()
    with closing(Store.open(path, clock=FakeClock())) as store:
        for _ in range(2):
            for number, vector in enumerate(found, 1):
                assert nearest(store, vector, count=1, candidates=1) == [number]
            while vectors.tidy(store):
                pass
        with store.read() as db:
            assert len(sizes(db)) <= 9
            assert not db.value("SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'vectors_384%'")
