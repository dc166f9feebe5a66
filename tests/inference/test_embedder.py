"""The embedding model: right vectors, and no input that ends the process."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from secureai_appliance.core.errors import InternalError, ServiceUnavailable, ValidationError
from secureai_appliance.inference.context import Context
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.pooled import Abandoned, PooledOptions, _Call, pack
from tests.support.models import EMBEDDING, PATIENCE


def embed_texts(embedder: Embedder, *texts: str) -> list[np.ndarray]:
    return embedder.embed([embedder.tokenize(text) for text in texts])


def test_cosines_agree_with_the_original_model(embedder: Embedder) -> None:
    happy, very_happy, sunny = embed_texts(
        embedder, "That is a happy person", "That is a very happy person", "Today is a sunny day"
    )
    assert float(happy @ very_happy) == pytest.approx(0.943, abs=0.005)
    assert float(happy @ sunny) == pytest.approx(0.257, abs=0.01)


def test_vectors_have_length_1_and_come_in_order(embedder: Embedder) -> None:
    texts = ["a " * (1 + (7 * index) % 200) for index in range(40)]
    together = embed_texts(embedder, *texts)
    assert {vector.shape for vector in together} == {(embedder.dimension,)}
    assert {vector.dtype for vector in together} == {np.dtype(np.float32)}
    for text, vector in zip(texts[:6], together, strict=False):
        assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)
        # a small batch takes other kernels than a large one
        assert float(vector @ embed_texts(embedder, text)[0]) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("length", [1, 511, 512, 513, 100_000])
def test_an_input_of_any_length_is_embedded_or_refused_and_the_process_lives(length: int, embedder: Embedder) -> None:
    process = os.getpid()
    if length <= 512:
        assert len(embedder.embed([[2023] * length])) == 1
    else:
        with pytest.raises(ValidationError) as refusal:
            embedder.embed([[2023], [2023] * length])
        assert refusal.value.code == "context_length_exceeded"
        assert refusal.value.details["prompt_tokens"] == length
        assert refusal.value.details["context_length"] == 512
    assert os.getpid() == process
    assert len(embed_texts(embedder, "still here")) == 1


@pytest.mark.parametrize("token", [-1, 30_522, 2**31, 2**70])
def test_ids_out_of_range_are_refused(token: int, embedder: Embedder) -> None:
    with pytest.raises(ValidationError, match="0 to 30521"):
        embedder.embed([[101, token, 102]])


def test_an_empty_input_is_refused_and_no_input_is_no_vector(embedder: Embedder) -> None:
    with pytest.raises(ValidationError, match="empty"):
        embedder.embed([[]])
    assert embedder.embed([]) == []


def test_calls_from_many_threads_get_their_own_vectors(embedder: Embedder) -> None:
    texts = [f"text number {index}" for index in range(12)]
    expected = [embed_texts(embedder, text)[0] for text in texts]
    vectors: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        vectors[index] = embed_texts(embedder, texts[index])[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for index, vector in enumerate(expected):
        assert float(vector @ vectors[index]) > 0.9999


class Held(Embedder):
    """An embedder whose first batch of a call that is not short waits for the test."""

    def __init__(self, options: PooledOptions) -> None:
        self.computing = threading.Event()
        self.go_on = threading.Event()
        super().__init__(EMBEDDING, options)

    def _compute(self, context: Context, call: _Call, batch: list[int]) -> None:
        if not call.is_short:
            self.computing.set()
            assert self.go_on.wait(PATIENCE)
        super()._compute(context, call, batch)


def test_too_many_calls_are_refused_and_closing_ends_those_under_way() -> None:
    embedder = Held(PooledOptions(threads=1, max_waiting=2))
    outcomes: list[Exception] = []

    def call() -> None:
        try:
            embedder.embed([[2023] * 300, [2023] * 300])
        except ServiceUnavailable as failure:
            outcomes.append(failure)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    assert embedder.computing.wait(PATIENCE)
    with embedder._changed:
        assert embedder._changed.wait_for(lambda: embedder._under_way == 2, PATIENCE)
    with pytest.raises(ServiceUnavailable) as refusal:
        embedder.embed([[2023]])
    assert refusal.value.retry_after == 1

    closing = threading.Thread(target=embedder.close)
    closing.start()
    for caller in callers:
        caller.join(PATIENCE)
    embedder.go_on.set()
    closing.join(PATIENCE)

    assert len(outcomes) == 2
    assert not any(thread.is_alive() for thread in embedder._threads)
    with pytest.raises(ServiceUnavailable):
        embedder.embed([[2023]])


def test_a_query_does_not_wait_for_batches_of_others() -> None:
    embedder = Held(PooledOptions(threads=1))
    indexing = threading.Thread(target=embedder.embed, args=([[2023] * 300] * 50,))
    indexing.start()
    assert embedder.computing.wait(PATIENCE)
    assert len(embedder.embed([[2023] * 30])) == 1
    assert not embedder.go_on.is_set()
    embedder.go_on.set()
    indexing.join(PATIENCE)
    assert embedder.close()


def test_what_nobody_waits_for_any_more_is_not_computed_on() -> None:
    embedder = Held(PooledOptions(threads=1))
    gone = threading.Event()
    outcomes: list[Abandoned] = []

    def call() -> None:
        try:
            embedder.embed([[2023] * 300] * 50, gone.is_set)
        except Abandoned as outcome:
            outcomes.append(outcome)

    caller = threading.Thread(target=call)
    caller.start()
    assert embedder.computing.wait(PATIENCE)
    gone.set()
    caller.join(PATIENCE)
    assert [each.tokens for each in outcomes] == [300], "what was begun is told"
    embedder.go_on.set()
    assert len(embedder.embed([[2023]])) == 1
    assert not embedder._calls
    assert embedder.close()


def test_a_batch_that_fails_fails_its_call_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(EMBEDDING, PooledOptions(threads=1))
    with monkeypatch.context() as broken:
        for context in embedder._contexts:
            broken.setattr(context, "decode", lambda: -1)
        with pytest.raises(InternalError):
            embedder.embed([[2023]])
    assert not embedder.failed
    assert len(embedder.embed([[2023]])) == 1
    assert embedder.close()


def test_a_worker_that_dies_tells_its_callers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(EMBEDDING, PooledOptions(threads=1))

    def broken() -> int:
        raise RuntimeError("broken")

    for context in embedder._contexts:
        monkeypatch.setattr(context, "decode", broken)
    with pytest.raises(ServiceUnavailable):
        embedder.embed([[2023]])
    assert embedder.failed
    assert embedder.close()


def test_batches_hold_inputs_of_like_length_within_their_bounds() -> None:
    lengths = [500, 10, 250, 12, 260, 9, 512]
    batches = pack(lengths, 512, 3)
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert all(sum(lengths[index] for index in batch) <= 512 for batch in batches)
    assert batches == [[5, 1, 3], [2, 4], [0], [6]]
    assert pack([300, 10, 20], 256, 3) == [[1, 2], [0]]
    assert pack([1] * 7, 512, 3) == [[0, 1, 2], [3, 4, 5], [6]]
