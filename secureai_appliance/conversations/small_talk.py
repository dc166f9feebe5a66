"""What is no question to documents: a greeting, thanks, or a wish about what was said already.

A text counts as that only when nothing else stands in it: phrases of our lists from its beginning to its end, or an
order to work on the last answer ("translate that …"). A question that has a word of its own is looked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import product

from secureai_appliance.conversations.phrases import (
    AFTER_ORDERS,
    BESIDES,
    LANGUAGES,
    ORDERS,
    ROUND_ABOUT,
    SMALL_TALK,
    WISHES,
)

_LONGEST = 200
"""Characters; who says more has something to ask."""
_LONGEST_PHRASE = 8

_APOSTROPHE = re.compile(r"['’`´]")
_WORD = re.compile(r"[^\W_]+")
_POLITE = frozenset({"please", "pls", "bitte", "svp", "stp"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


def needs_no_documents(text: str, *, answered: bool) -> bool:
    """Whether what is said can be answered without looking for anything. `answered`: there is an answer to work on."""
    words = _words(text) if len(text) <= _LONGEST else []
    if (len(words), True) in _reached(words, _small_talk(), _besides()):
        return True
    if not answered:
        return False
    reached = _reached(words, _wishes(), _round_about())
    return (len(words), True) in reached or any(_is_order(words, start) for start, _ in reached)


def _reached(words: list[str], telling: frozenset[str], others: frozenset[str]) -> set[tuple[int, bool]]:
    """Up to which word these phrases reach, one after the other, and whether one of `telling` is among them."""
    reached = {(0, False)}
    for start, told in product(range(len(words)), (False, True)):
        if (start, told) not in reached:
            continue
        for end in range(start + 1, min(start + _LONGEST_PHRASE, len(words)) + 1):
            phrase = " ".join(words[start:end])
            if phrase in telling:
                reached.add((end, True))
            if phrase in others:
                reached.add((end, told))
    return reached


def _is_order(words: list[str], start: int) -> bool:
    """Whether an order to work on the last answer begins here."""
    for end in range(start + 2, min(start + _LONGEST_PHRASE, len(words)) + 1):
        if " ".join(words[start:end]) in _orders() and (end == len(words) or _goes_on(words[end - 1 : end + 1])):
            return True
    return False


def _goes_on(words: list[str]) -> bool:
    return not _after_orders().isdisjoint(words)


def _words(text: str) -> list[str]:
    """In small letters, without accents and apostrophes."""
    plain = unicodedata.normalize("NFKD", _APOSTROPHE.sub("", text)).casefold()
    words = _WORD.findall("".join(letter for letter in plain if not unicodedata.combining(letter)))
    return [word for word in words if word not in _POLITE]


def _phrases(*lists: str) -> frozenset[str]:
    """The phrases of comma-separated lists, with umlauts also as they are written without them."""
    found = [phrase for each in lists for phrase in each.split(",")]
    return frozenset(" ".join(_words(each)) for phrase in found for each in (phrase, phrase.translate(_UMLAUTS)))


def _joined(pairs: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Each phrase of the first list before each of the second, for all pairs of lists."""
    return frozenset(f"{first} {last}" for one, two in pairs for first, last in product(_phrases(one), _phrases(two)))


@cache
def _small_talk() -> frozenset[str]:
    return _phrases(SMALL_TALK)


@cache
def _besides() -> frozenset[str]:
    return _phrases(BESIDES)


@cache
def _wishes() -> frozenset[str]:
    return _phrases(WISHES) | _joined(LANGUAGES)


@cache
def _round_about() -> frozenset[str]:
    return _phrases(BESIDES, SMALL_TALK, ROUND_ABOUT)


@cache
def _orders() -> frozenset[str]:
    return _joined(ORDERS)


@cache
def _after_orders() -> frozenset[str]:
    return _phrases(AFTER_ORDERS)
