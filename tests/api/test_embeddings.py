"""`POST /embeddings` on the real model, over real sockets."""

from __future__ import annotations

import base64
import os
import struct
from typing import Any

import pytest

from tests.support.running import Response, Running
from tests.support.schemas import validate

MODEL = "all-minilm-l6-v2"


def embed(api: Running, value: Any, **fields: Any) -> Response:
    return api.ask("POST", "/api/v1/embeddings", {"model": MODEL, "input": value, **fields})


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_likeness_is_that_of_the_original_model(api: Running) -> None:
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    answer = embed(api, texts)
    validate(answer.json, "CreateEmbeddingResponse")
    first, second, third = (entry["embedding"] for entry in answer.json["data"])
    assert cosine(first, first) == pytest.approx(1.0, abs=1e-5)
    assert cosine(first, second) == pytest.approx(0.943, abs=0.005)
    assert cosine(first, third) == pytest.approx(0.257, abs=0.01)


def test_base64_holds_the_same_numbers(api: Running) -> None:
    plain = embed(api, "a text").json["data"][0]["embedding"]
    packed = embed(api, "a text", encoding_format="base64").json["data"][0]["embedding"]
    assert list(struct.unpack("<384f", base64.b64decode(packed))) == pytest.approx(plain)


def test_tokens_and_text_give_the_same_vector(api: Running) -> None:
    # [CLS] hello world [SEP] of the model's own vocabulary
    by_text = embed(api, "hello world").json["data"][0]["embedding"]
    by_tokens = embed(api, [101, 7592, 2088, 102]).json["data"][0]["embedding"]
    assert by_tokens == pytest.approx(by_text, abs=1e-6)


@pytest.mark.parametrize(("length", "status"), [(511, 200), (512, 200), (513, 400), (100_000, 400)])
def test_an_input_at_and_beyond_the_bound_is_answered_or_refused_and_the_process_goes_on(
    api: Running, length: int, status: int
) -> None:
    process = os.getpid()
    answer = embed(api, [2088] * length)
    assert answer.status == status
    if status == 400:
        assert answer.json["error"]["code"] == "context_length_exceeded"
        assert answer.json["error"]["details"]["prompt_tokens"] == length
    assert os.getpid() == process
    assert embed(api, "still here").status == 200


def test_a_long_text_is_refused_with_both_counts(api: Running) -> None:
    error = embed(api, ["short", "word " * 600]).json["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["details"]["field"] == "input.1"
    assert error["details"]["context_length"] == 512


@pytest.mark.parametrize("token", [-1, 30_522, 2**31, 2**40])
def test_a_token_out_of_range_is_refused_and_the_process_goes_on(api: Running, token: int) -> None:
    answer = embed(api, [101, token, 102])
    assert answer.status == 400
    validate(answer.json, "ErrorResponse")
    assert embed(api, "still here").status == 200


@pytest.mark.parametrize(
    ("value", "status"),
    [("", 400), ([], 400), (["a", ""], 400), ([[]], 400), (["a", 5], 400), ([1.5], 400), (["x"] * 2049, 400), (5, 400)],
)
def test_an_input_that_says_nothing_is_refused(api: Running, value: Any, status: int) -> None:
    answer = embed(api, value)
    assert answer.status == status
    validate(answer.json, "ErrorResponse")


def test_tokens_under_an_alias_are_refused_with_the_way_out(api: Running) -> None:
    answer = embed(api, [[7592]], model="text-embedding-3-small")
    assert answer.status == 422
    assert "check_embedding_ctx_length=False" in answer.json["error"]["message"]


def test_foreign_dimensions_are_refused_and_the_own_ones_are_not(api: Running) -> None:
    assert embed(api, "x", dimensions=256).status == 422
    assert embed(api, "x", dimensions=384).status == 200


def test_a_chat_model_is_refused(api: Running) -> None:
    assert embed(api, "x", model="gpt-4").status == 422


def test_vectors_come_in_the_order_of_the_inputs_whatever_their_lengths(api: Running) -> None:
    texts = ["one", "a much longer text about many things " * 8, "two", "short and sweet"]
    together = [entry["embedding"] for entry in embed(api, texts).json["data"]]
    for text, vector in zip(texts, together, strict=True):
        assert cosine(embed(api, text).json["data"][0]["embedding"], vector) > 0.999
