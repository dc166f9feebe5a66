"""Finding passages: by meaning (vectors), by words (full text), and both together by the places they give a passage.

Who may read a base is asked in the same reading as the passages, and again in each query's SQL. A base's index is
looked up before the query is embedded and once more when it is searched: one that was replaced in between is not mixed
with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.knowledge import bases, embedding, index, indexes, relevance, vectors
from secureai_appliance.knowledge.bases import BASES
from secureai_appliance.knowledge.fusion import DEPTH, Legs, Scored, fuse, trust
from secureai_appliance.knowledge.index import Counts
from secureai_appliance.knowledge.indexes import Index
from secureai_appliance.knowledge.passages import (
    Candidate,
    Cut,
    Found,
    Ranks,
    Reranked,
    Result,
    SearchFilter,
    SearchRequest,
    Trace,
)
from secureai_appliance.knowledge.reranking import Reranker, Reranking
from secureai_appliance.knowledge.terms import query_terms
from secureai_appliance.knowledge.vectors import Blocks, Condition, Hit
from secureai_appliance.store import Reader, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from secureai_appliance.models.registry import Models

_TRIES = 3


@dataclass(frozen=True)
class _Place:
    """A base that is searched, and its index."""

    base_id: str
    index: Index


@dataclass(frozen=True)
class _Row:
    chunk_id: str
    document_id: str
    base_id: str
    filename: str
    page: int | None
    heading: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Finding:
    """What both legs found and the caller may read: `scored` best first, `rows` by their ids."""

    legs: Legs
    scored: list[Scored]
    rows: dict[int, _Row]


@dataclass(frozen=True)
class _Second:
    """What a rerank model said: scores by the passages' rows."""

    scores: dict[int, float]
    told: Reranking | None

    def still_of(self, finding: _Finding) -> bool:
        """Whether any of what it read is still there, if anything is."""
        return not (self.scores and finding.scored) or any(each.row_id in self.scores for each in finding.scored)

    def order(self, scored: list[Scored]) -> tuple[list[Scored], list[Scored]]:
        """The passages that it read, best first, and the others; all of them as they were if it read none."""
        if not self.scores:
            return scored, []
        read = [replace(each, score=self.scores[each.row_id]) for each in scored if each.row_id in self.scores]
        # passages that it holds for equally good stay in the order in which they were found
        return sorted(read, key=lambda each: -each.score), [each for each in scored if each.row_id not in self.scores]


_NO_SECOND = _Second({}, None)


@dataclass
class _Kept:
    """What was read for earlier searches and is still true."""

    blocks: Blocks = field(default_factory=Blocks)
    counts: Counts = field(default_factory=dict)


_kept: WeakKeyDictionary[Store, _Kept] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Embedded:
    """The query's vector, and how far it can be trusted."""

    vector: NDArray[np.float32]
    weight: float


@dataclass(frozen=True)
class _Query:
    """The query as the models see it: a vector of each, and how far the vectors can be trusted."""

    vectors: dict[str, NDArray[np.float32]]
    weight: float
    words: list[list[str]]
    kept: _Kept


def search(
    store: Store,
    models: Models,
    caller: Caller,
    base_ids: Sequence[str],
    body: SearchRequest,
    *,
    reranker: Reranker | None = None,
    abandoned: Callable[[], bool] = lambda: False,
    used: Callable[[str, int], None] = lambda model, tokens: None,
) -> Found:
    """The passages of these bases (by id or slug) that answer the query best.

    `used` is told the models and their tokens. Raises NotFound for a base that the caller may not read,
    ServiceUnavailable while the embedding model is not at hand, Abandoned.
    """
    embedded: dict[str, _Embedded] = {}
    for _ in range(_TRIES):
        with store.read() as db:
            places = _places(db, caller, base_ids)
        names = dict.fromkeys(place.index.embedding_model for place in places if place.index.dimension)
        for name in names if body.mode != "keyword" else ():
            # another try needs no other vector
            if name not in embedded:
                embedded[name], tokens = _embed(store, models, name, body.query, abandoned)
                used(name, tokens)
        query = _understand(store, [(name, embedded[name]) for name in names if name in embedded], body)
        with store.read() as db:
            if _places(db, caller, base_ids) != places:
                continue
            finding = _find(db, caller, places, body, query)
            if reranker is None:
                return _shown(db, places, finding, body, query)
        # it takes seconds; what was deleted or taken away meanwhile is not shown
        second = _look_again(reranker, body.query, finding, abandoned, used)
        with store.read() as db:
            if _places(db, caller, base_ids) == places:
                finding = _find(db, caller, places, body, query)
                if second.still_of(finding):
                    return _shown(db, places, finding, body, query, second=second)
    raise ServiceUnavailable("The knowledge base is being changed; try again.", retry_after=1)


def _places(db: Reader, caller: Caller, base_ids: Sequence[str]) -> list[_Place]:
    found = dict.fromkeys(bases.find(db, caller, base_id) for base_id in base_ids)
    return [_Place(base_id, indexes.active(db, base_id)) for base_id in found]


def _embed(store: Store, models: Models, name: str, query: str, abandoned: Callable[[], bool]) -> tuple[_Embedded, int]:
    """The query as a model sees it, and its tokens."""
    with embedding.embedder(store, models, name, abandoned) as model:
        ids = embedding.tokens(model, query)
        vector = embedding.vectors(model, [ids], abandoned)[0]
        return _Embedded(vector, trust(query, embedding.pieces(model, query, ids))), len(ids)


def _understand(store: Store, embedded: Sequence[tuple[str, _Embedded]], body: SearchRequest) -> _Query:
    return _Query(
        vectors={name: each.vector for name, each in embedded},
        weight=embedded[-1][1].weight if embedded else 1.0,
        words=query_terms(body.query) if body.mode != "vector" or body.explain else [],
        kept=_kept.setdefault(store, _Kept()),
    )


def _find(db: Reader, caller: Caller, places: Sequence[_Place], body: SearchRequest, query: _Query) -> _Finding:
    legs = _ask(db, places, body, query)
    scored = fuse(legs, body.mode, query.weight)
    rows = _rows(db, caller, [each.row_id for each in scored])
    return _Finding(legs, [each for each in scored if each.row_id in rows], rows)


def _look_again(
    reranker: Reranker,
    query: str,
    finding: _Finding,
    abandoned: Callable[[], bool],
    used: Callable[[str, int], None],
) -> _Second:
    first = [finding.rows[each.row_id] for each in finding.scored[: reranker.passages]]
    texts = [f"{row.heading}\n{row.text}".strip() for row in first]
    if not texts:
        return _Second({}, None)
    scores, told = reranker.scores(query, texts, abandoned, used)
    ids = (each.row_id for each in finding.scored)
    return _Second({} if scores is None else dict(zip(ids, scores, strict=False)), told)


def _shown(
    db: Reader,
    places: Sequence[_Place],
    finding: _Finding,
    body: SearchRequest,
    query: _Query,
    *,
    second: _Second = _NO_SECOND,
) -> Found:
    rows = finding.rows
    scored, passed_over = second.order(finding.scored)
    kept, cut = _choose(scored, rows, body)
    cosines = {hit.row_id: hit.score for hit in finding.legs.vector}
    data = [_result(each, rows[each.row_id], cosines.get(each.row_id)) for each in kept]
    if body.explain:
        _judge(db, places, data, query)
    return Found(
        data=data,
        rerank=second.told,
        trace=Trace(
            terms=query.words,
            embedding_models=list(query.vectors),
            vector_weight=round(query.weight, 3),
            vector=_candidates(finding.legs.vector, rows),
            keyword=_candidates(finding.legs.keyword, rows),
            cut=cut + [_cut(each, rows, "not_reranked") for each in passed_over],
            reranked=_reranked(finding, second),
            rerank=second.told,
        )
        if body.explain
        else None,
    )


def _reranked(finding: _Finding, second: _Second) -> list[Reranked]:
    return [
        Reranked(
            chunk_id=finding.rows[each.row_id].chunk_id,
            document_id=finding.rows[each.row_id].document_id,
            place=place,
            score=_rounded(second.scores[each.row_id]),
        )
        for place, each in enumerate(finding.scored, 1)
        if each.row_id in second.scores
    ]


def _ask(db: Reader, places: Sequence[_Place], body: SearchRequest, query: _Query) -> Legs:
    legs, kept = Legs(), query.kept
    for place in places:
        only = _condition(place, body.filter)
        vector = query.vectors.get(place.index.embedding_model)
        if vector is not None:
            legs.vector += vectors.nearest(db, place.index, vector, count=DEPTH, only=only, kept=kept.blocks)
        if body.mode != "vector":
            legs.keyword += index.matching(db, place.index, query.words, DEPTH, only=only, kept=kept.counts)
    for leg in (legs.vector, legs.keyword):
        leg.sort(key=lambda hit: (-hit.score, hit.row_id))
        del leg[DEPTH:]
    return legs


def _condition(place: _Place, wanted: SearchFilter | None) -> Condition | None:
    if wanted is None or (wanted.document_ids is None and wanted.content_types is None):
        return None
    return (
        "SELECT chunks.row_id FROM documents JOIN chunks ON chunks.index_id = ? AND chunks.document_id = documents.id"
        " WHERE documents.base_id = ? AND (? IS NULL OR documents.id IN (SELECT value FROM json_each(?)))"
        " AND (? IS NULL OR documents.content_type IN (SELECT value FROM json_each(?)))",
        (
            *(place.index.row_id, place.base_id),
            *(_json(wanted.document_ids),) * 2,
            *(_json(wanted.content_types),) * 2,
        ),
    )


def _json(values: Sequence[str] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def _rows(db: Reader, caller: Caller, row_ids: Sequence[int]) -> dict[int, _Row]:
    where, params = sharing.visible_to(caller, BASES)
    found = db.value(
        # in one row: each row of an answer waits for its turn beside threads that compute
        "SELECT json_group_array(json_array(chunks.row_id, chunks.id, documents.id, base_id, filename, page, heading,"  # noqa: S608
        ' start, "end", text)) FROM json_each(?) AS wanted JOIN chunks ON chunks.row_id = wanted.value'
        " JOIN documents ON documents.id = chunks.document_id"
        f" WHERE documents.base_id IN (SELECT id FROM knowledge_bases WHERE {where})",
        *(msgspec.json.encode(row_ids).decode(), *params),
    )
    return {row_id: _Row(*rest) for row_id, *rest in msgspec.json.decode(found)}


def _choose(scored: Sequence[Scored], rows: dict[int, _Row], body: SearchRequest) -> tuple[list[Scored], list[Cut]]:
    """The first `top_k`, each text once; more of one document than `per_document` only where others leave room."""
    kept: list[Scored] = []
    spare: list[Scored] = []
    cut: list[Cut] = []
    texts: set[str] = set()
    taken: dict[str, int] = {}

    def leave(each: Scored, reason: Any) -> None:
        cut.append(_cut(each, rows, reason))

    for each in scored:
        if len(kept) == body.top_k and not body.explain:
            break  # only who has it explained is told what else there was
        row = rows[each.row_id]
        text = " ".join(row.text.split()).casefold()
        if each.score < body.min_score:
            leave(each, "min_score")
        elif text in texts:
            leave(each, "duplicate")
        elif len(kept) == body.top_k:
            leave(each, "top_k")
        else:
            texts.add(text)
            taken[row.document_id] = taken.get(row.document_id, 0) + 1
            (kept if taken[row.document_id] <= body.per_document else spare).append(each)
    room = body.top_k - len(kept)
    for each in spare[room:]:
        leave(each, "per_document")
    # what comes last because of its document stands behind what it made room for
    return kept + spare[:room], cut


def _cut(each: Scored, rows: dict[int, _Row], reason: Any) -> Cut:
    row = rows[each.row_id]
    return Cut(chunk_id=row.chunk_id, document_id=row.document_id, score=_rounded(each.score), reason=reason)


def _judge(db: Reader, places: Sequence[_Place], data: Sequence[Result], query: _Query) -> None:
    trust = query.weight if query.vectors else 0.0
    telling = relevance.telling(query.words) or query.words
    counted = [index.standing(db, place.index, telling, query.kept.counts) for place in places]
    standing = [sum(counts) for counts in zip(*(counts for _, counts in counted), strict=True)]
    weighed = relevance.weights(sum(chunks for chunks, _ in counted), standing)
    for each in data:
        text = f"{each.filename}\n{each.heading}\n{each.text}"
        each.relevance = _rounded(relevance.relevance(telling, weighed, text, each.similarity, trust))


def _candidates(hits: Sequence[Hit], rows: dict[int, _Row]) -> list[Candidate]:
    return [
        Candidate(
            chunk_id=rows[hit.row_id].chunk_id, document_id=rows[hit.row_id].document_id, score=_rounded(hit.score)
        )
        for hit in hits
        if hit.row_id in rows
    ]


def _result(each: Scored, row: _Row, cosine: float | None) -> Result:
    return Result(
        chunk_id=row.chunk_id,
        document_id=row.document_id,
        knowledge_base_id=row.base_id,
        filename=row.filename,
        page=row.page,
        heading=row.heading,
        start=row.start,
        end=row.end,
        text=row.text,
        score=_rounded(each.score),
        similarity=None if cosine is None else _rounded(cosine),
        relevance=None,
        ranks=Ranks(vector=each.vector_rank, keyword=each.keyword_rank),
    )


def _rounded(score: float) -> float:
    return round(score, 6)
