"""Full text of chats: the index over titles and messages, and the pieces of text to show for what was found."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from secureai_appliance.core import text_terms
from secureai_appliance.core.text_terms import Term
from secureai_appliance.store import Reader, Transaction

MOST_SNIPPETS = 3
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


def condition(q: str) -> tuple[str, list[str]]:
    """The condition under which a chat has all words of `q` in its title or in one of its messages."""
    expression = text_terms.query(q)
    if not expression:
        return "0", []
    return f"row_id IN (SELECT rowid >> {_PLACES} FROM chat_terms WHERE chat_terms MATCH ?)", [expression]  # noqa: S608


def snippets(db: Reader, chat: int, title: str, q: str) -> list[Snippet]:
    """Where the chat at this row_id has the words, the title first; a few places at most."""
    first, end = places(chat)
    found = db.all(
        "SELECT rowid FROM chat_terms WHERE chat_terms MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid LIMIT ?",
        *(text_terms.query(q), first, end, MOST_SNIPPETS),
    )
    words = text_terms.wanted(q)
    shown = []
    for (at,) in found:
        if at == first:
            shown.append(_snippet(None, title, words))
            continue
        message_id, content = db.all("SELECT id, content FROM messages WHERE row_id = ?", at)[0]
        shown.append(_snippet(message_id, content or "", words))
    return shown


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
