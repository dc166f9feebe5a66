"""A second look at the passages that a search found: a rerank model reads each of the first ones with the query.

It sees what neither vectors nor words tell, and takes seconds where they take milliseconds, so it reads only some. The
administrator chooses the model (`knowledge.rerank_model`), a search whether it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from secureai_appliance.core.clock import Clock, SystemClock
from secureai_appliance.core.errors import Failure, InternalError, ServiceUnavailable, UnprocessableEntity
from secureai_appliance.knowledge.held import held
from secureai_appliance.models import catalogue
from secureai_appliance.store import Store

if TYPE_CHECKING:
    from secureai_appliance.models.registry import Models

log = logging.getLogger(__name__)

Used = Callable[[str, int], None]


class Reranking(msgspec.Struct, kw_only=True):
    """Which model put the passages into order and how many it read; `failure` says why it did not."""

    model: str
    passages: int
    failure: str | None


@dataclass(frozen=True)
class Reranker:
    """A model, how many passages it reads, and within what time. `required`: a search without it is an error."""

    store: Store
    models: Models
    model: str
    passages: int
    seconds: float
    required: bool
    clock: Clock = field(default_factory=SystemClock)

    def scores(
        self, query: str, texts: Sequence[str], abandoned: Callable[[], bool], used: Used
    ) -> tuple[list[float] | None, Reranking]:
        """From 0 to 1 for each text; None where the model can't be used. `used` is told the model and its tokens.

        Raises Failure for a model that can't be used and is required, Abandoned.
        """
        try:
            return self._in_time(query, texts, abandoned, used), self._told(len(texts), None)
        except Failure as failure:
            if self.required:
                raise
            _warn(self.model, failure.message)
            return None, self._told(0, failure.message)

    def _in_time(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool], used: Used) -> list[float]:
        from secureai_appliance.inference.pooled import Abandoned

        end = self.clock.monotonic() + self.seconds

        def is_late() -> bool:
            return self.clock.monotonic() >= end

        try:
            return self._scores(query, texts, lambda: is_late() or abandoned(), used)
        except (Abandoned, ServiceUnavailable):
            # who has hung up needs no reason
            if not is_late() or abandoned():
                raise
            # nothing is broken: the log needs no traceback
            raise ServiceUnavailable(
                f"The rerank model '{self.model}' took longer than {self.seconds:g} seconds.", retry_after=5
            ) from None

    def _scores(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool], used: Used) -> list[float]:
        from secureai_appliance.inference import pooled, reranker

        with self.store.read() as db:
            row = catalogue.find(db, self.model)
        with held(self.models, row, self.models.rerank, abandoned) as model:
            if not isinstance(model, reranker.Reranker):
                raise InternalError("The model in this place does not rank.")
            pairs = model.pairs(query, texts, cut_query=True)
            try:
                found = model.score(pairs, abandoned)
            except pooled.Abandoned as gone:
                used(row.id, gone.tokens)
                raise
        used(row.id, sum(len(pair.tokens) for pair in pairs))
        return found

    def _told(self, passages: int, failure: str | None) -> Reranking:
        return Reranking(model=self.model, passages=passages, failure=failure)


@lru_cache(maxsize=100)
def _warn(model: str, reason: str) -> None:
    """Once for each reason: searches come every second."""
    log.warning("the rerank model %s was not used: %s", model, reason)


def chosen(store: Store, models: Models, values: Mapping[str, Any], wanted: bool | None, top_k: int) -> Reranker | None:
    """What a search ranks with, by the settings; None: with nothing. `wanted` None: if there is a model.

    Raises UnprocessableEntity when it is wanted and there is none.
    """
    model = values["knowledge.rerank_model"]
    if wanted is False or (wanted is None and not model):
        return None
    if not model:
        raise UnprocessableEntity(
            "There is no rerank model: an administrator chooses one with 'knowledge.rerank_model'.",
            field="rerank",
            constraint="supported",
        )
    return Reranker(
        *(store, models, model),
        passages=max(values["knowledge.rerank_passages"], top_k),
        seconds=values["knowledge.rerank_seconds"],
        required=wanted is True,
    )
