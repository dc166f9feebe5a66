"""From text to the terms that it is found by, in any language, for an index that splits at blanks and does no more.

Words are folded: case, width, accents. Scripts that are written without blanks (Chinese, Japanese, Thai, …) become
pairs of neighbouring characters, which a search finds as a phrase.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

LONGEST_TERM = 64
MOST_WORDS = 16
"""Of a query: further ones do not count."""

# Thai, Lao, Myanmar, Khmer, kana, Han; what is between them in the tables belongs to the same scripts
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
_UNSPACED += "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
_LAST_WITH_MARKS = 0x11FFF
_ACCENTS = re.compile("[\u0300-\u036f]+")
_SHORTEST_PREFIX = 3


class Term(NamedTuple):
    """A term and where it stands in the text, in characters."""

    text: str
    start: int
    end: int


def terms(text: str) -> Iterator[Term]:
    """The terms of `text`, in order."""
    for match in _words().finditer(text):
        start, end = match.span()
        if match["run"] is None:
            if word := folded(match[0])[:LONGEST_TERM]:
                yield Term(word, start, end)
            continue
        for at in range(start, end - 1):
            yield Term(folded(text[at : at + 2]), at, at + 2)
        # a single character is looked for as the beginning of a pair: the last one begins none
        yield Term(folded(text[end - 1]), end - 1, end)


def indexed(text: str) -> str:
    """What goes into the index for `text`: its terms between blanks."""
    return " ".join(term.text for term in terms(text))


def query(text: str, longer: Callable[[str], list[str] | None] = lambda _: None) -> str:
    """FTS5's expression for texts that have every word of `text`; '' when there is no word in it.

    Words of three letters and more are found as beginnings of longer ones too. `longer` gives all terms of the index
    that begin with one, or None when there are too many: FTS5 reads all of their rows before it gives the first one
    when it is asked for a beginning, but one after the other when it is asked for the terms.
    """
    return " AND ".join(_expression(word, longer) for word in wanted(text))


def wanted(text: str) -> list[list[str]]:
    """The words of a query, each once, as the terms that have to follow each other."""
    found: list[list[str]] = []
    for match in _words().finditer(text):
        word = match[0]
        if match["run"] is None or len(word) == 1:
            found.append([folded(word)[:LONGEST_TERM]])
        else:
            found.append([folded(word[at : at + 2]) for at in range(len(word) - 1)])
    # marks alone fold to nothing; a word that is said twice is asked for once
    unlike = dict.fromkeys(tuple(word) for word in found if all(word))
    return [list(word) for word in unlike][:MOST_WORDS]


def is_beginning(term: str) -> bool:
    """Whether a query's single term also finds what begins with it."""
    return len(term) >= _SHORTEST_PREFIX or (len(term) == 1 and not term.isascii())


def folded(word: str) -> str:
    """The same for all ways to write a word: `Ｃafé`, `CAFE`."""
    if word.isascii():
        return word.lower()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", word.casefold()))
    # what a compatible form consists of must not split the term again
    return "".join(c for c in unicodedata.normalize("NFC", plain).casefold() if not c.isascii() or c.isalnum())


def _expression(word: list[str], longer: Callable[[str], list[str] | None]) -> str:
    phrase = f'"{" ".join(word)}"'
    if len(word) > 1 or not is_beginning(word[0]):
        return phrase
    found = longer(word[0])
    if found is None:
        return f"{phrase} *"
    return "(" + " OR ".join(f'"{term}"' for term in found) + ")" if found else phrase


@cache
def _words() -> re.Pattern[str]:
    """A run of a script without blanks, or a word: letters, digits, and the marks that belong to them."""
    marks = "".join(chr(code) for code in range(0x300, _LAST_WITH_MARKS) if unicodedata.category(chr(code))[0] == "M")
    return re.compile(f"(?P<run>[{_UNSPACED}]+)|(?:(?![{_UNSPACED}_])[\\w{marks}])+")
