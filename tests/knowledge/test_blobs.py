"""Originals on their way into the store."""

from __future__ import annotations

import pytest

from secureai_appliance.knowledge import blobs
from secureai_appliance.knowledge.blobs import PIECE, BlobWriter
from secureai_appliance.store import Store


def kept(store: Store, blob_id: int) -> bytes:
    return b"".join(blobs.pieces(store, blob_id))


def test_a_blob_has_the_bytes_that_were_written(store: Store) -> None:
    blob, data = BlobWriter(store), bytes(range(256)) * 10_000
    for begin in range(0, len(data), 300_000):
        blob.write(data[begin : begin + 300_000])
    blobs.flush(store, [blob])
    with store.transaction() as tx:
        number = blob.finish(tx)
    assert kept(store, number) == data
    assert (blob.size, blob.pending) == (len(data), 0)


@pytest.mark.parametrize("size", [10, PIECE + 10])
def test_what_is_discarded_after_a_change_that_was_undone_is_nobody_elses(store: Store, size: int) -> None:
    undone, other = BlobWriter(store), BlobWriter(store)
    undone.write(b"a" * 10)
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        undone.finish(tx)
        raise ZeroDivisionError
    other.write(b"b" * size)
    blobs.flush(store, [other])
    undone.discard()
    with store.transaction() as tx:
        assert kept(store, other.finish(tx)) == b"b" * size


def test_a_change_that_was_undone_can_be_tried_again(store: Store) -> None:
    blob = BlobWriter(store)
    blob.write(b"a" * (PIECE + 10))
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        blob.finish(tx)
        raise ZeroDivisionError
    with store.transaction() as tx:
        number = blob.finish(tx)
    assert kept(store, number) == b"a" * (PIECE + 10)
