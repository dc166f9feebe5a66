"""Full text of chats: the index over titles and messages, and the pieces of text to show for what was found."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from secureai_appliance.core import text_terms
from secureai_appliance.core.text_terms import Term
from secureai_appliance.store import Reader, Transaction

MOST_FOUND = 10_000
"""Titles and messages that one search looks at."""
_MOST_TERMS = 300
_BEFORE, _LENGTH = 60, 200
_PLACES = 20  # bits of a message's row_id that say where in its chat it stands


class Highlight(msgspec.Struct, kw_only=True):
    """One of the words that were looked for: from, to (exclusive) in characters of the snippet's text."""

    start: int
    end: int


class Snippet(msgspec.Struct, kw_only=True):
    """A piece of a message, or of the title (`message_id` null)."""

    message_id: str | None
    text: str
    highlights: list[Highlight]


def places(chat: int) -> tuple[int, int]:
    """The row_ids between which (exclusive) the messages of the chat at this row_id stand; the first is the title's."""
    return chat << _PLACES, (chat + 1) << _PLACES


def index(tx: Transaction, at: int, terms: str) -> None:
    """Have the message at this row_id found by these terms."""
    tx.run("INSERT INTO chat_terms (rowid, terms) VALUES (?, ?)", at, terms)


def index_title(tx: Transaction, chat: int, title: str) -> None:
    """Have the chat at this row_id found by its title, and no longer by the one before."""
    at, _ = places(chat)
    tx.run("DELETE FROM chat_terms WHERE rowid = ?", at)
    index(tx, at, text_terms.indexed(title))


def find(db: Reader, q: str, where: str, params: tuple[Any, ...]) -> dict[int, list[int]]:
    """The chats that have all words of `q` in the title or in one message, by row_id: the first and the last place.

    `where` is constant SQL on `chats`, with `params`: whose they are, and what else they have to be. Of more than
    MOST_FOUND places only those in the newest chats count.
    """
    expression = text_terms.query(q, lambda beginning: _longer(db, beginning))
    if not expression:
        return {}
    rows = db.all(
        # the index gives its rows in this order by itself, and is read no further than to the bound
        f"SELECT chat, MIN(place), MAX(place) FROM (SELECT chats.row_id AS chat, chat_terms.rowid AS place"  # noqa: S608
        f" FROM chat_terms CROSS JOIN chats ON chats.row_id = chat_terms.rowid >> {_PLACES}"
        f" WHERE chat_terms MATCH ? AND ({where or 'TRUE'}) ORDER BY chat_terms.rowid DESC LIMIT ?) GROUP BY chat",
        *(expression, *params, MOST_FOUND),
    )
    return {chat: sorted({first, last}) for chat, first, last in rows}


def _longer(db: Reader, beginning: str) -> list[str] | None:
    """The terms of the index that begin so, None when they are too many to be asked for one by one."""
    found: list[str] = []
    after = beginning
    while len(found) <= _MOST_TERMS:
        # a step to the next term reads one entry, however often the one before occurs
        term = db.value("SELECT term FROM chat_words WHERE term >= ? LIMIT 1", after)
        if term is None or not term.startswith(beginning):
            return found
        found.append(term)
        after = f"{term}\x01"  # behind the term itself, before all that go on
    return None


def snippets(found: list[tuple[str, str] | None], title: str, q: str) -> list[Snippet]:
    """The pieces of text around what `find` found in a chat: in messages (id, text), or in the title (None)."""
    words = text_terms.wanted(q)
    return [_snippet(None, title, words) if each is None else _snippet(*each, words) for each in found]


def _snippet(message_id: str | None, text: str, words: list[list[str]]) -> Snippet:
    """A piece of `text` around the first of the words."""
    hits = _hits(text_terms.terms(text), words)
    first = next(hits, None)
    start = 0 if first is None else max(0, first[0] - _BEFORE)
    end = min(len(text), start + _LENGTH)
    inside: Iterable[tuple[int, int]] = () if first is None else itertools.chain([first], hits)
    marked = list(itertools.takewhile(lambda hit: hit[1] <= end, inside))
    before, after = "…" if start else "", "…" if end < len(text) else ""
    shift = len(before) - start
    return Snippet(
        message_id=message_id,
        text=f"{before}{text[start:end]}{after}",
        highlights=[Highlight(start=hit[0] + shift, end=hit[1] + shift) for hit in marked],
    )


def _hits(terms: Iterable[Term], words: list[list[str]]) -> Iterator[tuple[int, int]]:
    """Where one of the words stands, from and to."""
    longest = max(map(len, words))
    window: list[Term] = []
    for term in itertools.chain(terms, itertools.repeat(Term("", 0, 0), longest - 1)):
        window = [*window, term][-longest:]
        if len(window) < longest:
            continue
        hit = next((word for word in words if _begins(window, word)), None)
        if hit is not None:
            yield window[0].start, window[len(hit) - 1].end


def _begins(window: list[Term], word: list[str]) -> bool:
    if len(word) == 1 and text_terms.is_beginning(word[0]):
        return window[0].text.startswith(word[0])
    return [term.text for term in window[: len(word)]] == word
