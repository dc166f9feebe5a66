"""`POST /embeddings`: texts into vectors, in OpenAI's shape."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.conversations.running import Budget
from secureai_appliance.core.errors import Failure, InternalError, UnprocessableEntity, ValidationError
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.tokens import TooManyTokens
from secureai_appliance.models.catalogue import ModelRow

MAX_INPUTS = 2048

Tokens = list[int]


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """One text, a list of texts, one list of token ids, or a list of such lists."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None


class Embedding(msgspec.Struct, kw_only=True):
    """The vector of one input: numbers, or little-endian 32-bit floats in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct, kw_only=True):
    """Counts of tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, kw_only=True):
    """The vectors in the order of the inputs, each of length 1."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def embed(
    embedder: Embedder,
    row: ModelRow,
    request: EmbeddingRequest,
    abandoned: Callable[[], bool] = lambda: False,
    *,
    budget: Budget | None = None,
) -> EmbeddingList:
    """The vectors of the request's inputs; Abandoned is raised soon after `abandoned` has turned true.

    Raises ValidationError for an empty or too long input, UnprocessableEntity for dimensions that the model has not and
    for tokens under an alias.
    """
    if request.dimensions not in (None, embedder.dimension):
        raise UnprocessableEntity(
            f"The model '{row.id}' has {embedder.dimension} dimensions, not {request.dimensions}.",
            field="dimensions",
            constraint="supported",
        )
    inputs = _inputs(embedder, row, request)
    used = sum(len(tokens) for tokens in inputs)
    if budget is not None:
        budget.reserve(used, 0, 0)
    vectors = embedder.embed(inputs, abandoned)
    return EmbeddingList(
        data=[
            Embedding(
                index=index,
                embedding=vector.tolist()
                if request.encoding_format == "float"
                else base64.b64encode(vector.astype("<f4").tobytes()).decode(),
            )
            for index, vector in enumerate(vectors)
        ],
        model=row.id,
        usage=EmbeddingUsage(prompt_tokens=used, total_tokens=used),
    )


def _inputs(embedder: Embedder, row: ModelRow, request: EmbeddingRequest) -> list[Tokens]:
    return [
        _text(embedder, item, where) if isinstance(item, str) else item for where, item in checked_inputs(row, request)
    ]


def checked_inputs(row: ModelRow, request: EmbeddingRequest) -> list[tuple[str, str | Tokens]]:
    """The inputs one by one, each with its field: texts, and tokens under the model's own name.

    Raises ValidationError, UnprocessableEntity for tokens under an alias.
    """
    given = request.input
    items: list[str | int | list[int]] = [given] if isinstance(given, str) else given
    if items and all(isinstance(item, int) for item in items):
        return [("input", _tokens(row, [item for item in items if isinstance(item, int)], "input", request.model))]
    if not 1 <= len(items) <= MAX_INPUTS:
        raise ValidationError(
            f"The 'input' field must have 1 to {MAX_INPUTS} entries, not {len(items)}.",
            field="input",
            constraint="length",
        )
    inputs: list[tuple[str, str | Tokens]] = []
    for index, item in enumerate(items):
        where = "input" if isinstance(given, str) else f"input.{index}"
        if isinstance(item, int):
            raise ValidationError("The 'input' field mixes texts and tokens.", field=where, constraint="type")
        if item == "":
            raise ValidationError(f"The '{where}' field must not be empty.", field=where, constraint="min_length")
        inputs.append((where, item if isinstance(item, str) else _tokens(row, item, where, request.model)))
    return inputs


def _text(embedder: Embedder, text: str, where: str) -> Tokens:
    try:
        tokens = embedder.tokenize(text)
    except TooManyTokens as cause:
        raise too_long(where, cause.count, embedder.max_tokens) from cause
    if len(tokens) > embedder.max_tokens:
        raise too_long(where, len(tokens), embedder.max_tokens)
    return tokens


def _tokens(row: ModelRow, tokens: Tokens, where: str, asked: str) -> Tokens:
    if asked != row.id:
        # the client made them with the tokenizer of the model that the alias imitates: they mean other words here
        raise UnprocessableEntity(
            f"Token ids are taken only under the model's own name '{row.id}'. With LangChain set"
            " check_embedding_ctx_length=False, so that it sends text.",
            field=where,
            constraint="type",
        )
    if not tokens:
        raise ValidationError(f"The '{where}' field must not be empty.", field=where, constraint="min_length")
    return tokens


def too_long(where: str, tokens: int, most: int) -> Failure:
    """The error for an input of more tokens than the model takes."""
    return ValidationError(
        f"The '{where}' field has {tokens} tokens; the model takes at most {most}.",
        code="context_length_exceeded",
        field=where,
        constraint="max_tokens",
        details={"prompt_tokens": tokens, "context_length": most},
    )


def require_embedder(loaded: object) -> Embedder:
    """`loaded`, which the catalogue says is an embedding model."""
    if not isinstance(loaded, Embedder):
        raise InternalError("The model in this place makes no embeddings.")
    return loaded
