"""What a search is asked and what it finds, as the API shows them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.knowledge.fusion import Mode
from secureai_appliance.knowledge.reranking import Reranking

Ids = Annotated[list[str], Meta(min_length=1, max_length=100)]


class SearchFilter(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Only passages of these documents, or of files of these types; what is left out filters nothing."""

    document_ids: Ids | None = None
    content_types: Ids | None = None


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to look for. `per_document`: passages of one document that come before those of all others are through.

    `rerank`: whether a rerank model puts what was found into order; left out: if there is one. `explain` adds what each
    leg found and what became of it.
    """

    query: Annotated[str, Meta(min_length=1, max_length=8000)]
    top_k: Annotated[int, Meta(ge=1, le=100)] = 8
    mode: Mode = "hybrid"
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
    filter: SearchFilter | None = None
    per_document: Annotated[int, Meta(ge=1, le=100)] = 3
    rerank: bool | None = None
    explain: bool = False


class Ranks(msgspec.Struct, kw_only=True):
    """The places that the legs gave a passage, from 1; null where it was not among the first."""

    vector: int | None
    keyword: int | None


class Result(msgspec.Struct, kw_only=True):
    """A passage: characters `start` to `end` of its document's text.

    `score` goes from 0 to 1: the cosine by meaning, a share of the best by words, the joint one of both places; or what
    the rerank model says.
    """

    chunk_id: str
    document_id: str
    knowledge_base_id: str
    filename: str
    page: int | None
    heading: str
    start: int
    end: int
    text: str
    score: float
    similarity: float | None
    """The cosine between query and passage; null where the vectors did not find it."""
    relevance: float | None
    """From 0 to 1: whether it has to do with the query at all, by meaning or by words; null without `explain`."""
    ranks: Ranks


class Candidate(msgspec.Struct, kw_only=True):
    """What a leg found: `score` is the cosine, or BM25."""

    chunk_id: str
    document_id: str
    score: float


class Cut(msgspec.Struct, kw_only=True):
    """A passage that was found and left out, and why."""

    chunk_id: str
    document_id: str
    score: float
    reason: Literal["duplicate", "per_document", "top_k", "min_score", "budget", "not_reranked"]


class Reranked(msgspec.Struct, kw_only=True):
    """A passage that the rerank model read: its place before (from 1), and its score now."""

    chunk_id: str
    document_id: str
    place: int
    score: float


class Trace(msgspec.Struct, kw_only=True):
    """How a search went. `vector_weight`: what the vectors' places counted; 0 where the model knows no word of it.

    `rerank` where there is a rerank model: why it did not read, if it did not.
    """

    terms: list[list[str]]
    embedding_models: list[str]
    vector_weight: float
    vector: list[Candidate]
    keyword: list[Candidate]
    cut: list[Cut]
    reranked: list[Reranked] = []
    rerank: Reranking | None = None


class Found(msgspec.Struct, kw_only=True):
    """The best passages, best first. `rerank` where there is a rerank model, `trace` only for who asked for it."""

    data: list[Result]
    rerank: Reranking | None
    trace: Trace | None


def block(index: int, passage: Result, after: int = 0) -> str:
    """A passage as a model sees it, from character `after` of the document on: what it was told is not said again."""
    text = passage.text[max(0, after - passage.start) :].strip()
    return f"{head(index, passage.filename, passage.page, passage.heading)}\n{text}"


def head(index: int, filename: str, page: int | None, heading: str) -> str:
    """The first line of a passage as a model sees it."""
    at = "" if page is None else f", page {page}"
    return f"[{index}] {filename}{at}{f': {heading}' if heading else ''}"
