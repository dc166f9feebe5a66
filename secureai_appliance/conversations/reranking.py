"""`POST /rerank`: which of some texts answer a question best, in the shape that Jina's and Cohere's clients know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.conversations.running import Budget
from secureai_appliance.core.errors import InternalError
from secureai_appliance.inference.reranker import Reranker
from secureai_appliance.models.catalogue import ModelRow

MAX_DOCUMENTS = 1000


class TextDocument(msgspec.Struct, kw_only=True):
    """A text, as some clients wrap it."""

    text: str


class RerankRequest(msgspec.Struct, kw_only=True):
    """What is asked, and the texts. `top_n`: only so many of the best. `return_documents`: with their texts."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | TextDocument], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None


class Ranked(msgspec.Struct, kw_only=True):
    """A text by its place in the request. `truncated`: it was too long, and only its beginning was read."""

    index: int
    relevance_score: float
    truncated: bool
    document: TextDocument | UnsetType = UNSET


class RerankUsage(msgspec.Struct, kw_only=True):
    """Counts of tokens; the query counts with each text."""

    prompt_tokens: int
    total_tokens: int


class RerankList(msgspec.Struct, kw_only=True):
    """The best texts first. `relevance_score` goes from 0 to 1; figures of two models can't be compared."""

    object: Literal["list"] = "list"
    model: str
    results: list[Ranked]
    usage: RerankUsage


def rerank(
    reranker: Reranker,
    row: ModelRow,
    request: RerankRequest,
    abandoned: Callable[[], bool] = lambda: False,
    *,
    budget: Budget | None = None,
) -> RerankList:
    """The texts in order. Abandoned is raised soon after `abandoned` has turned true.

    Raises ValidationError for a query that is too long.
    """
    texts = [each if isinstance(each, str) else each.text for each in request.documents]
    pairs = reranker.pairs(request.query, texts)
    used = sum(len(pair.tokens) for pair in pairs)
    if budget is not None:
        budget.reserve(used, 0, 0)
    scores = reranker.score(pairs, abandoned)
    best = sorted(range(len(texts)), key=lambda index: (-scores[index], index))[: request.top_n]
    return RerankList(
        model=row.id,
        results=[
            Ranked(
                index=index,
                relevance_score=scores[index],
                truncated=pairs[index].cut,
                document=TextDocument(text=texts[index]) if request.return_documents else UNSET,
            )
            for index in best
        ],
        usage=RerankUsage(prompt_tokens=used, total_tokens=used),
    )


def require_reranker(loaded: object) -> Reranker:
    """`loaded`, which the catalogue says is a rerank model."""
    if not isinstance(loaded, Reranker):
        raise InternalError("The model in this place does not rank.")
    return loaded
