"""What a passage must reach for an answer to rest on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secureai_appliance.knowledge.passages import Found, Result


@dataclass(frozen=True)
class Bar:
    """`least` counts for a passage's relevance, or `by_rank` for what the rerank model says of it."""

    least: float
    by_rank: bool

    def height(self, passage: Result) -> float:
        """The passage's figure, from 0 to 1, that counts here."""
        return passage.score if self.by_rank else passage.relevance or 0.0

    def passes(self, passage: Result) -> bool:
        """Whether an answer may rest on it."""
        return self.height(passage) >= self.least


def bar(values: Mapping[str, Any], found: Found, least: float | None = None) -> Bar:
    """The bar for the passages of a search that was explained, by the settings; `least`: what the request says."""
    of_rank: float = values["knowledge.rerank_min_score"]
    by_rank = of_rank > 0 and found.rerank is not None and found.rerank.failure is None
    return Bar((of_rank if by_rank else values["knowledge.min_score"]) if least is None else least, by_rank)
