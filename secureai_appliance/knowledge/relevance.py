"""Whether a passage has to do with a question at all: a figure that means the same in every base, unlike a place.

By meaning it is the cosine. By words it is how much of what the question names stands in the passage, a rare word
counting more than a common one and one that the base does not know like its rarest. The mean of both told answerable
questions from others better than either (`tests/bench/answers.py`); where the embedding model does not know the
language, the words alone count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from secureai_appliance.knowledge.terms import query_terms, terms

Words = Sequence[Sequence[str]]

# words of questions that say nothing of what is asked about
_ASKING = (
    "who whom whose much many often long me my i you your we our us please tell explain describe give show find list"
    " name know mean say write say need should could may must any some about happen exactly question answer"
    " wer wen wem was wann wo warum wieso welche welcher welches wieviel viele oft lange ich du wir uns bitte sag"
    " erkläre beschreibe nenne zeige gib muss soll gibt es"
    " qui quoi quel quelle quels quelles quand combien pourquoi comment je tu mon donne explique liste"
    " quién qué cuál cuáles cuándo cuánto cuántos cómo por dime explica"
    " chi cosa quale quali quando quanto quanti perché dove quem qual quais quanto quantos"
)


def telling(words: Words) -> list[Sequence[str]]:
    """The words of a query without those that only ask."""
    return [word for word in words if _asking().isdisjoint(word)]


def weights(chunks: int, standing: Sequence[int]) -> list[float]:
    """What words tell that stand in so many of the chunks: the rarer, the more."""
    return [math.log(1 + (chunks + 1) / (0.5 + count)) for count in standing]


def relevance(words: Words, weighed: Sequence[float], text: str, cosine: float | None, trust: float) -> float:
    """From 0 to 1. `weighed` are the words' weights, `trust` what the cosine is worth, from 0 to 1."""
    share = trust / 2
    return share * max(0.0, cosine or 0.0) + (1 - share) * _coverage(words, weighed, text)


def _coverage(words: Words, weighed: Sequence[float], text: str) -> float:
    there = frozenset(terms(text).split())
    total = sum(weighed)
    found = sum(weight for word, weight in zip(words, weighed, strict=True) if not there.isdisjoint(word))
    return found / total if total else 0.0


@cache
def _asking() -> frozenset[str]:
    return frozenset(term for word in query_terms(_ASKING) for term in word)
