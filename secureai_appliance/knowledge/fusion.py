"""Two orders of passages, by meaning and by words, become one that is not worse than the better of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from secureai_appliance.knowledge.vectors import Hit

Mode = Literal["hybrid", "vector", "keyword"]

RRF_K = 10
_KNOWN, _SPELLED = 0.5, 0.8


@dataclass
class Legs:
    """What each leg found, best first."""

    vector: list[Hit] = field(default_factory=list)
    keyword: list[Hit] = field(default_factory=list)


@dataclass(frozen=True)
class Scored:
    """A passage: its joint score, and the places that the legs gave it."""

    row_id: int
    score: float
    vector_rank: int | None
    keyword_rank: int | None


def trust(query: str, pieces: int) -> float:
    """What the vectors are worth: a model that spells a language's words out letter by letter doesn't know it.

    So it is with names and numbers of parts, which are better found by their letters.
    """
    letters = sum(1 for letter in query if letter.isalnum()) or 1
    return min(1.0, max(0.0, (_SPELLED - pieces / letters) / (_SPELLED - _KNOWN)))


def fuse(legs: Legs, mode: Mode, weight: float) -> list[Scored]:
    """All that was found, best first: by the leg that was asked, or by the sum of 1 / (10 + place) over both."""
    vector = {hit.row_id: place for place, hit in enumerate(legs.vector, 1)}
    keyword = {hit.row_id: place for place, hit in enumerate(legs.keyword, 1)}
    if not keyword:
        weight = 1.0  # nothing else is known
    if mode == "vector":
        scores = {hit.row_id: max(0.0, hit.score) for hit in legs.vector}
    elif mode == "keyword":
        best = max((hit.score for hit in legs.keyword), default=1.0) or 1.0
        scores = {hit.row_id: max(0.0, hit.score / best) for hit in legs.keyword}
    else:
        most = (1 + weight) / (RRF_K + 1)
        scores = {
            row_id: (
                (weight / (RRF_K + vector[row_id]) if row_id in vector else 0.0)
                + (1 / (RRF_K + keyword[row_id]) if row_id in keyword else 0.0)
            )
            / most
            for row_id in vector | keyword
        }
    found = [Scored(row_id, score, vector.get(row_id), keyword.get(row_id)) for row_id, score in scores.items()]
    return sorted(found, key=lambda each: (-each.score, each.keyword_rank or len(keyword) + 1, each.row_id))
