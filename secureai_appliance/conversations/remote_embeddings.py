"""`POST /embeddings` of a remote model."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from secureai_appliance.conversations import remote_budget
from secureai_appliance.conversations.embeddings import (
    Embedding,
    EmbeddingList,
    EmbeddingRequest,
    EmbeddingUsage,
    checked_inputs,
)
from secureai_appliance.conversations.running import Budget, ClientGone
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import require_kind
from secureai_appliance.models.remotes import Remotes, TheirCount, garbled

_POLL = 0.05


class _Usage(msgspec.Struct):
    prompt_tokens: TheirCount = 0


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage = msgspec.field(default_factory=_Usage)


def embed(
    remotes: Remotes,
    row: ModelRow,
    request: EmbeddingRequest,
    disconnected: Callable[[], bool],
    *,
    via: str,
    budget: Budget | None = None,
) -> EmbeddingList:
    """The vectors as the other server makes them. Raises ClientGone as soon as the client is, or a Failure."""
    require_kind(row, "embedding")
    count = len(checked_inputs(row, request))
    if budget is not None and budget.bounded:
        budget.reserve(estimated(request), 0, 0)

    def body(their_name: str) -> dict[str, Any]:
        made: dict[str, Any] = {"model": their_name, "input": request.input, "encoding_format": "float"}
        return made if request.dimensions is None else {**made, "dimensions": request.dimensions}

    exchange = remotes.ask(row, "/embeddings", body, stream=False, via=via)
    try:
        while (told := exchange.next(_POLL)) is None:
            if disconnected():
                raise ClientGone
    finally:
        exchange.close()
    try:
        answer = msgspec.json.decode(told, type=_Answer)
    except (msgspec.MsgspecError, RecursionError) as cause:
        raise garbled(row.id) from cause
    vectors = sorted(answer.data, key=lambda vector: vector.index)
    if [vector.index for vector in vectors] != list(range(count)):
        raise garbled(row.id)
    used = answer.usage.prompt_tokens
    return EmbeddingList(
        data=[Embedding(index=at, embedding=_encoded(vector.embedding, request)) for at, vector in enumerate(vectors)],
        model=row.id,
        usage=EmbeddingUsage(prompt_tokens=used, total_tokens=used),
    )


def estimated(request: EmbeddingRequest) -> int:
    """About how many tokens the inputs have."""
    return remote_budget.tokens_of({"input": request.input})


def _encoded(vector: list[float], request: EmbeddingRequest) -> list[float] | str:
    if request.encoding_format == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
