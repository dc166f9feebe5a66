"""Answers from documents: what to look for, what of it the model is given, and what the answer says it rests on.

Passages are text from outside like a user's: they stand in a turn of a user's, where no text gives control tokens.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations.answers import Citation, Retrieved
from secureai_appliance.conversations.asking_whole import asks_about_whole, has_topic
from secureai_appliance.conversations.assistants import Assistant
from secureai_appliance.conversations.fitting import Fitted, fit_best, fit_parts, most_parts
from secureai_appliance.conversations.messages import ChatRequest, Message, Retrieval, plain_text
from secureai_appliance.conversations.room import Room
from secureai_appliance.conversations.small_talk import needs_no_documents
from secureai_appliance.core.errors import NotFound, ServiceUnavailable
from secureai_appliance.knowledge import bases, traces, whole
from secureai_appliance.knowledge.bar import bar
from secureai_appliance.knowledge.passages import Cut, Result, SearchFilter, SearchRequest
from secureai_appliance.knowledge.passages import Trace as SearchTrace
from secureai_appliance.knowledge.relevance import telling
from secureai_appliance.knowledge.reranking import chosen
from secureai_appliance.knowledge.search import search
from secureai_appliance.knowledge.terms import query_terms
from secureai_appliance.knowledge.traces import Outcome, Source
from secureai_appliance.knowledge.whole import Coverage, Outline, Part, spread
from secureai_appliance.store import Reader, Store

if TYPE_CHECKING:
    from secureai_appliance.models.registry import Models

log = logging.getLogger(__name__)

TOP_K = 5
_LONGEST_QUERY = 8000
_OWN_WORDS = 3
"""A question with fewer words that tell something may refer to the one before it."""
_FRAME = 24  # what templates put around two messages
_MOST_CHARACTERS = 8
"""Of a token, in a text: more of them than that are too many for sure."""

INSTRUCTIONS = (
    "Answer my question from these numbered sources. Put the number of the source that you use behind each statement,"
    " like [1]. If they do not answer it, say so."
)
AGREED = "I have read the sources. I answer from them only, and put the number of the source behind each statement, like [1]."  # noqa: E501
WHOLE = "These are the parts of the document, in order."
PARTS = "These are the beginnings of parts from all over the document, in order; the rest of it is not here."


@dataclass(frozen=True)
class Ground:
    """What an answer rests on. `request` has the sources in it; `sources` stand there from number 1 on.

    Where a tool looks for them there are none at first, and nothing is `retrieved` before the model is asked.
    """

    request: ChatRequest
    sources: Sequence[Result]
    retrieved: Retrieved | None

    @property
    def is_empty(self) -> bool:
        """Whether the documents say nothing."""
        return self.retrieved is not None and self.retrieved.outcome == "not_in_documents"

    def citations(self, cited: set[int]) -> list[Citation]:
        """All sources; those of which the answer's text has the number are `cited`."""
        return [
            Citation(
                index=index,
                cited=index in cited,
                knowledge_base_id=source.knowledge_base_id,
                document_id=source.document_id,
                filename=source.filename,
                page=source.page,
                heading=source.heading,
                chunk_id=source.chunk_id,
                start=source.start,
                end=source.end,
                score=source.relevance,
                quote=source.text,
            )
            for index, source in enumerate(self.sources, 1)
        ]


@dataclass
class _Found:
    """Passages before it is known how many of them there is room for."""

    outcome: Outcome
    query: str
    passages: list[Result]
    search: SearchTrace | None = None
    best: float | None = None
    outline: Outline | None = None
    least: float | None = None


def bases_of(db: Reader, caller: Caller, request: ChatRequest, assistant: Assistant | None) -> list[str] | None:
    """The bases to answer from: those of the request, else those of the assistant that the caller may read.

    None where no base is named; none at all may be left of an assistant's. Raises NotFound for one of the request's.
    """
    if request.knowledge_base_ids is not None:
        if not request.knowledge_base_ids:
            return None
        caller.require("knowledge:read")
        return [_base(db, caller, base_id, number) for number, base_id in enumerate(request.knowledge_base_ids)]
    if assistant is None or not assistant.knowledge_base_ids:
        return None
    found = []
    if caller.may("knowledge:read"):
        for base_id in assistant.knowledge_base_ids:
            with suppress(NotFound):
                found.append(bases.find(db, caller, base_id))
    return found


class Grounding:
    """Finds what answers rest on, with the rights of whoever asks."""

    def __init__(
        self,
        store: Store,
        models: Models,
        values: Mapping[str, Any],
        caller: Caller,
        *,
        abandoned: Callable[[], bool] = lambda: False,
        used: Callable[[str, int], None] = lambda model, tokens: None,
    ) -> None:
        """`values`: the settings. `used` is told the embedding model and its tokens."""
        self._store = store
        self._models = models
        self._values = values
        self._caller = caller
        self._abandoned = abandoned
        self._used = used

    def ground(self, request: ChatRequest, base_ids: Sequence[str], room: Room, *, kept: bool) -> Ground | None:
        """What the answer to the last user's message rests on; None when no user has said anything.

        `kept`: whether the conversation is; else the trace does not hold what was asked. Raises what a search does.
        """
        at = next((at for at in reversed(range(len(request.messages))) if request.messages[at].role == "user"), None)
        if at is None or not (question := _asked(request.messages[at])):
            return None
        how = request.retrieval or Retrieval()
        answered = any(message.role == "assistant" and plain_text(message) for message in request.messages[:at])
        if how.scope in {None, "auto"} and needs_no_documents(question, answered=answered):
            return Ground(request, [], self._unasked(question, how))
        left = room.left(request) - room.count(INSTRUCTIONS + AGREED + PARTS) - _FRAME
        whole_left = min(left, self._document_tokens(how))
        found = self._found(request.messages[: at + 1], question, how, base_ids, whole_left)
        if found.outcome == "document":
            left = whole_left
        fitted = (
            fit_best(found.passages, room, left) if found.outline is None else fit_parts(found.passages, room, left)
        )
        coverage, left_out = _coverage(found, fitted)
        min_score = self._min_score(how) if found.least is None else found.least
        retrieved = Retrieved(
            outcome=found.outcome,
            query=found.query,
            min_score=min_score,
            best_score=found.best,
            sources=len(fitted.sources),
            left_out=left_out,
            coverage=coverage,
            trace_id=None,
        )
        trace = traces.Retrieval(
            outcome=found.outcome,
            query=found.query if kept else None,
            mode=how.mode or "hybrid",
            top_k=how.top_k or TOP_K,
            min_score=min_score,
            best_score=found.best,
            room_tokens=max(0, left),
            coverage=coverage,
            sources=_listed(fitted),
            search=_told(found.search, fitted, kept=kept),
        )
        retrieved.trace_id = self._kept(base_ids, trace)
        if fitted.sources:
            request = _with_sources(request, at, coverage, fitted)
        return Ground(request, fitted.sources, retrieved)

    def _unasked(self, question: str, how: Retrieval) -> Retrieved:
        """Of what is no question to documents."""
        return Retrieved(
            outcome="conversation",
            query=question,
            min_score=self._min_score(how),
            best_score=None,
            sources=0,
            left_out=0,
            coverage=None,
            trace_id=None,
        )

    def _found(
        self, said: Sequence[Message], question: str, how: Retrieval, base_ids: Sequence[str], room: int
    ) -> _Found:
        """`room`: tokens for a document as a whole."""
        if not base_ids:
            return _Found("not_in_documents", question, [])
        if how.scope == "document" or (how.scope in {None, "auto"} and asks_about_whole(question)):
            return self._whole(said, question, how, base_ids, room)
        return self._best(said, how, base_ids)

    def _whole(
        self, said: Sequence[Message], question: str, how: Retrieval, base_ids: Sequence[str], room: int
    ) -> _Found:
        """The document that the question names, or is about, or the only one; the beginnings of all, if it is any."""
        with self._store.read() as db:
            there = whole.named(db, self._caller, base_ids, how.document_ids)
        lowered = question.casefold()
        chosen = [each.id for each in there if _is_named(each.filename, lowered)]
        if not chosen and how.document_ids is not None:
            chosen = [each.id for each in there]
        if not chosen and has_topic(question):
            found = self._best(said, how, base_ids)
            if found.outcome == "not_in_documents":
                return found
            chosen = [found.passages[0].document_id]
        beginnings = not chosen and len(there) > 1
        with self._store.read() as db:
            chosen = chosen or [each.id for each in there]
            outline = whole.outline(db, self._caller, chosen, beginnings=beginnings)
            passages = whole.passages(db, self._caller, _worth_reading(outline, room))
        return _Found("document" if passages else "not_in_documents", question, passages, outline=outline)

    def _best(self, said: Sequence[Message], how: Retrieval, base_ids: Sequence[str]) -> _Found:
        found = [self._passages(query, how, base_ids) for query in queries(said)]
        # where a rerank model read for one of them only, their figures say nothing about each other
        return max(found, key=lambda each: (bool(each.passages), each.best or 0.0))

    def _passages(self, query: str, how: Retrieval, base_ids: Sequence[str]) -> _Found:
        body = SearchRequest(
            query=query[:_LONGEST_QUERY],
            top_k=how.top_k or TOP_K,
            mode=how.mode or "hybrid",
            filter=None if how.document_ids is None else SearchFilter(document_ids=how.document_ids),
            explain=True,
        )
        found = search(
            *(self._store, self._models, self._caller, base_ids, body),
            reranker=chosen(self._store, self._models, self._values, how.rerank, body.top_k),
            abandoned=self._abandoned,
            used=self._used,
        )
        assert found.trace is not None
        wanted = bar(self._values, found, how.min_score)
        good = list(filter(wanted.passes, found.data))
        low = [each for each in found.data if not wanted.passes(each)]
        found.trace.cut[:0] = [_cut(each, "min_score", wanted.height(each)) for each in low]
        best = max(map(wanted.height, found.data), default=None)
        return _Found("passages" if good else "not_in_documents", query, good, found.trace, best, least=wanted.least)

    def _min_score(self, how: Retrieval) -> float:
        least: float = self._values["knowledge.min_score"] if how.min_score is None else how.min_score
        return least

    def _document_tokens(self, how: Retrieval) -> int:
        most: int = self._values["knowledge.document_tokens"] if how.document_tokens is None else how.document_tokens
        return most

    def _kept(self, base_ids: Sequence[str], trace: traces.Retrieval) -> str | None:
        if not base_ids:
            return None
        try:
            with self._store.transaction() as tx:
                users.require_active(tx, self._caller.user_id)
                return traces.add(tx, self._caller, base_ids, trace)
        except ServiceUnavailable as failure:
            # that it can't be stored is no reason to refuse the answer
            log.warning("a trace could not be kept: %s", failure.message)
            return None


def queries(said: Sequence[Message]) -> list[str]:
    """What to look for: the last message; with the last one that stands for itself where it may refer to that."""
    last = _asked(said[-1])
    own = _words(last)
    if own >= _OWN_WORDS:
        return [last]
    earlier = [text for each in said[:-1] if each.role == "user" and (text := _asked(each))]
    subject = next((text for text in reversed(earlier) if _words(text) >= _OWN_WORDS), earlier[-1] if earlier else "")
    if not subject:
        return [last]
    both = f"{subject}\n{last}"
    return [last, both] if own else [both]


def _asked(message: Message) -> str:
    """What is looked for: of what is longer the beginning, for all of it is worked on while others wait."""
    return plain_text(message).strip()[:_LONGEST_QUERY].rstrip()


def _words(text: str) -> int:
    return len(telling(query_terms(text)))


def _base(db: Reader, caller: Caller, base_id: str, number: int) -> str:
    try:
        return bases.find(db, caller, base_id)
    except NotFound as cause:
        raise NotFound(
            "There is no such knowledge base.", code="knowledge_base_not_found", param=f"knowledge_base_ids.{number}"
        ) from cause


def _is_named(filename: str, said: str) -> bool:
    name = filename.casefold()
    stem = name.rpartition(".")[0] or name
    return name in said or (len(stem) > 3 and re.search(rf"(?<!\w){re.escape(stem)}(?!\w)", said) is not None)


def _worth_reading(outline: Outline, room: int) -> Sequence[Part]:
    """All parts where there may be room for them, else as many as can be given, from all over."""
    parts = outline.parts
    if sum(part.size for part in parts) <= room * _MOST_CHARACTERS:
        return parts
    return [parts[at] for at in spread([(part.document, part.heading) for part in parts], most_parts(room))]


def _coverage(found: _Found, fitted: Fitted) -> tuple[Coverage | None, int]:
    """Of a document as a whole, how much was read; and how many passages were not."""
    if found.outline is None:
        return None, len(fitted.left_out)
    left_out = found.outline.passages - len(fitted.sources)
    return found.outline.coverage(fitted.sources, complete=not left_out and not fitted.shortened), left_out


def _with_sources(request: ChatRequest, at: int, coverage: Coverage | None, fitted: Fitted) -> ChatRequest:
    """With a turn before the question in which the model is given the sources.

    A small model answers from them twice as often as when they stand in one message with the question.
    """
    told = INSTRUCTIONS
    if coverage is not None:
        told = WHOLE if coverage.complete else PARTS
    given = Message(role="user", content="\n\n".join([told, *fitted.blocks]))
    messages = [*request.messages[:at], given, Message(role="assistant", content=AGREED), *request.messages[at:]]
    return msgspec.structs.replace(request, messages=messages)


def _listed(fitted: Fitted) -> list[Source]:
    return [
        Source(
            index=index,
            chunk_id=source.chunk_id,
            document_id=source.document_id,
            score=source.relevance or 0.0,
            ranks=source.ranks,
            tokens=tokens,
        )
        for index, (source, tokens) in enumerate(zip(fitted.sources, fitted.tokens, strict=True), 1)
    ]


def _told(trace: SearchTrace | None, fitted: Fitted, *, kept: bool) -> SearchTrace | None:
    if trace is None:
        return None
    cut = [*(_cut(each, "budget", each.relevance or 0.0) for each in fitted.left_out), *trace.cut]
    return msgspec.structs.replace(trace, cut=cut, terms=trace.terms if kept else [])


def _cut(each: Result, reason: Any, score: float) -> Cut:
    return Cut(chunk_id=each.chunk_id, document_id=each.document_id, score=score, reason=reason)
