"""How long a search waits for a rerank model. What it does with one: tests/api/test_reranking.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.knowledge.reranking import Reranker, Used
from secureai_appliance.models.registry import Models
from secureai_appliance.store import Store
from tests.support.clock import FakeClock

TEXTS = ["one", "two"]


class Slow(Reranker):
    """Takes half a minute for each text."""

    def _scores(self, query: str, texts: Sequence[str], abandoned: Callable[[], bool], used: Used) -> list[float]:
        clock = cast(FakeClock, self.clock)
        for number, _ in enumerate(texts):
            if abandoned():
                used(self.model, number)
                raise Abandoned
            clock.advance(30)
        return [0.5] * len(texts)


def slow(seconds: float, *, required: bool = False) -> Slow:
    parts = (cast(Store, None), cast(Models, None))
    return Slow(*parts, "slow", 20, seconds, required=required, clock=FakeClock())


def ask(reranker: Reranker, abandoned: Callable[[], bool] = lambda: False) -> tuple[list[float] | None, str | None]:
    scores, told = reranker.scores("What?", TEXTS, abandoned, lambda model, tokens: None)
    return scores, told.failure


def test_a_model_that_takes_too_long_is_not_waited_for() -> None:
    assert ask(slow(31)) == ([0.5, 0.5], None)
    assert ask(slow(30)) == (None, "The rerank model 'slow' took longer than 30 seconds.")


def test_a_search_that_wants_the_model_says_that_it_took_too_long() -> None:
    with pytest.raises(ServiceUnavailable, match="longer than 30 seconds") as failure:
        ask(slow(30, required=True))
    assert failure.value.__cause__ is None, "with one, it would be logged as a defect"


def test_who_hung_up_is_told_nothing_about_time() -> None:
    reranker = slow(30)
    late = reranker.clock.monotonic() + 30
    with pytest.raises(Abandoned):
        ask(reranker, lambda: reranker.clock.monotonic() >= late)
