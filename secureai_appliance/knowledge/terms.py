"""The terms under which a text is found: the same function for documents and for queries.

Terms hold no spaces and, of ASCII, only letters and digits: joined by spaces they pass FTS5's `ascii` tokenizer
unchanged.

- A word is its Snowball stem in the language of its text, without accents.
- An identifier (`BP1087`, `F-150`, `getUserName`, `report_v2.pdf`) is there whole, without its marks, and in its parts.
- Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese, which are not divided into words, or not into those that are
  searched for, are pairs of neighbouring characters, and single ones.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator

import Stemmer

from secureai_appliance.knowledge.languages import FUNCTION_WORDS, SCRIPTS, language_of

_PAIRED = (
    "\u0e01-\u0e5b\u0e81-\u0edf\u1000-\u109f\u1780-\u17dd\u3005-\u3007\u3041-\u3096\u309d\u309e\u30a1-\u30fa\u30fc-\u30fe\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# letters and digits; marks that belong to letters before them are no letters to `re`
_LETTER = (
    rf"(?:[^\W_{_PAIRED}]|[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0963"
    r"\u0966-\u0dff])"
)
_TOKEN = re.compile(rf"{_LETTER}+(?:[-‐‑_./,'’]{_LETTER}+)*|[{_PAIRED}]+")
_ASCII_TOKEN = re.compile(r"[A-Za-z0-9]+(?:[-_./,'][A-Za-z0-9]+)*")
_PAIRED_RUN = re.compile(f"[{_PAIRED}]")
_PART = re.compile(rf"{_LETTER}+")
_SUBPART = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SUBPART_BEYOND_ASCII = re.compile(r"\d+|\D+")
_CLUSTER = re.compile(
    r".[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b6-\u17d3]*", re.S
)
_POSSESSIVE = re.compile(r"['’]s?$")
# marks of the scripts that are also written without them; in Indic scripts they are vowels
_ACCENTS = re.compile("[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u0640\u064b-\u065f\u0670]")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"})
_LONGEST = 64
_MOST_PARTS = 8
_MOST_KEPT = 100_000


def terms(text: str) -> str:
    """The terms of a piece of a document, joined by spaces."""
    words = _words(text)
    return " ".join(filter(None, map(_vocabulary(language_of(words)).__getitem__, words)))


def query_terms(text: str) -> list[list[str]]:
    """The words of a query, each as the terms of which a document holds one: a query is too short to tell its language.

    Words that only hold sentences together ("the", "und") are left out, unless there are no others. Order is the
    query's; nothing comes twice.
    """
    words = _words(text)
    telling = [word for word in words if word.casefold() not in _ANY_FUNCTION_WORD] or words
    language = language_of(words)
    found: dict[tuple[str, ...], None] = {}
    for word in telling:
        for alternatives in _alternatives(word, language):
            found[alternatives] = None
    return [list(alternatives) for alternatives in found]


def own_words(text: str) -> str:
    """A text without the words that only join others, in whatever language; empty when there are no others."""
    return " ".join(word for word in _words(text) if word.casefold() not in _ANY_FUNCTION_WORD)


def _alternatives(word: str, language: str) -> Iterator[tuple[str, ...]]:
    """For each term that the word has, the forms that it has in the languages of its script."""
    if _PAIRED_RUN.match(word):
        grams = list(_grams(word))
        pairs = [gram for gram in grams if len(_CLUSTER.findall(gram)) > 1]
        yield from ((gram,) for gram in pairs or grams)
        return
    forms = [list(filter(None, _forms(word, each))) for each in (language, *_languages_of(word))]
    for number in range(len(forms[0])):
        yield tuple(dict.fromkeys(form[number] for form in forms if number < len(form)))


def _languages_of(word: str) -> tuple[str, ...]:
    return next((languages for last, languages in SCRIPTS if word[0] <= last), ("english",))


def _words(text: str) -> list[str]:
    if text.isascii():
        return _ASCII_TOKEN.findall(text)
    return _TOKEN.findall(unicodedata.normalize("NFKC", text))


class _Vocabulary(dict[str, str]):
    """Terms of each word of one language, kept: words come again. One for each thread, as stemmers are not shared."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def __missing__(self, word: str) -> str:
        if len(self) > _MOST_KEPT:
            self.clear()
        made = " ".join(
            filter(None, _grams(word) if _PAIRED_RUN.match(word) else _forms(word, self._language_of(word)))
        )
        self[word] = made
        return made

    def _language_of(self, word: str) -> str:
        """The language of the text, unless the word is in a script that it is not written in."""
        languages = _languages_of(word)
        return self._language if self._language in languages else languages[0]


class _Local(threading.local):
    def __init__(self) -> None:
        self.vocabularies: dict[str, _Vocabulary] = {}
        self.stemmers: dict[str, Stemmer.Stemmer] = {}


_local = _Local()
_ANY_FUNCTION_WORD = frozenset().union(*FUNCTION_WORDS.values())


def _vocabulary(language: str) -> _Vocabulary:
    if language not in _local.vocabularies:
        _local.vocabularies[language] = _Vocabulary(language)
    return _local.vocabularies[language]


def _stem(word: str, language: str) -> str:
    stemmer = _local.stemmers.get(language)
    if stemmer is None:
        stemmer = _local.stemmers[language] = Stemmer.Stemmer(language, 0)
    return _folded(str(stemmer.stemWord(word)))


def _folded(word: str) -> str:
    """Without accents and other marks."""
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", word))).translate(_LETTERS)


def _forms(token: str, language: str) -> Iterator[str]:
    """Terms of a word or identifier: whole first, then its parts."""
    token = _POSSESSIVE.sub("", token) or token
    parts = _PART.findall(token)
    if len(parts) == 1 and _is_word(token) and (len(_pieces(token)) == 1 or token.istitle() or token.isupper()):
        yield _stem(token.lower(), language)[:_LONGEST]
        return
    pieces = [piece for part in parts for piece in _pieces(part)]
    whole = _folded("".join(parts).lower())
    elided = "'" in token or "’" in token  # l'eau, don't: two words, not one name
    if len(whole) <= _LONGEST and not elided:
        yield whole
    if len(pieces) == 1 and len(whole) <= _LONGEST:
        return
    if len(pieces) > _MOST_PARTS:
        pieces = parts if len(whole) > _LONGEST else []
    elif len(parts) > 1:
        pieces = [*parts, *pieces]
    for piece in dict.fromkeys(pieces):
        if elided or _folded(piece.lower()) != whole:
            yield _form(piece, language)


def _pieces(part: str) -> list[str]:
    """Runs of digits and of letters, and words that only their capitals divide."""
    return (_SUBPART if part.isascii() else _SUBPART_BEYOND_ASCII).findall(part)


def _is_word(token: str) -> bool:
    return not any(letter.isdigit() for letter in token)


def _form(piece: str, language: str) -> str:
    return (_stem(piece.lower(), language) if _is_word(piece) else _folded(piece.lower()))[:_LONGEST]


def _grams(run: str) -> Iterator[str]:
    """Single characters, with the marks that stand on them, and pairs of neighbours."""
    clusters = _CLUSTER.findall(run)
    yield from clusters
    for number in range(len(clusters) - 1):
        yield clusters[number] + clusters[number + 1]
