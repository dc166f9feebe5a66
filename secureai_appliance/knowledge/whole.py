"""Documents as a whole, for questions that no single passage answers: all passages in order, or some from all over."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from itertools import pairwise

import msgspec

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.knowledge.bases import BASES
from secureai_appliance.knowledge.passages import Ranks, Result
from secureai_appliance.store import Reader

MOST_NAMES = 2000
_MOST_LOOKED_AT = 20_000
_BEYOND_ALL = 2**60  # of positions, only 0 is divided by it


class Named(msgspec.Struct, kw_only=True):
    """A document that can be read, and what its user calls it."""

    id: str
    filename: str


class Coverage(msgspec.Struct, kw_only=True):
    """How much of documents that were taken as a whole the model was given.

    `share` of their characters, from 0 to 1. `pages_read`: on how many pages of `pages` something begins that it was
    given; both null where a document has no pages.
    """

    complete: bool
    share: float
    documents: int
    documents_read: int
    pages: int | None
    pages_read: int | None


@dataclass(frozen=True)
class Part:
    """A passage of the documents, without its text. `size` in characters."""

    row_id: int
    document: int
    heading: str
    size: int


@dataclass(frozen=True)
class Outline:
    """What there is of the documents: passages, characters and pages of all of them, and the parts to choose from.

    `complete`: the parts are all passages.
    """

    parts: Sequence[Part]
    documents: int
    passages: int
    characters: int
    pages: int | None

    @property
    def complete(self) -> bool:
        return len(self.parts) == self.passages

    def coverage(self, given: Sequence[Result], *, complete: bool) -> Coverage:
        """How much the passages `given` are of it; `complete` when they are all of it."""
        share = _characters(given) / self.characters if self.characters else 0.0
        begun = {(each.document_id, each.page) for each in given}
        return Coverage(
            complete=complete,
            # headings stand in no passage
            share=1.0 if complete else round(min(share, 0.999), 3),
            documents=self.documents,
            documents_read=len({each.document_id for each in given}),
            pages=self.pages,
            pages_read=None if self.pages is None else self.pages if complete else len(begun),
        )


def named(db: Reader, caller: Caller, base_ids: Sequence[str], document_ids: Sequence[str] | None) -> list[Named]:
    """The newest documents of these bases that can be found, at most `MOST_NAMES`; of those named where some are."""
    where, params = sharing.visible_to(caller, BASES)
    rows = db.all(
        "SELECT id, filename FROM documents WHERE base_id IN (SELECT value FROM json_each(?))"  # noqa: S608 (constants)
        f" AND base_id IN (SELECT id FROM knowledge_bases WHERE {where}) AND chunk_count > 0"
        " AND (? IS NULL OR id IN (SELECT value FROM json_each(?))) ORDER BY row_id DESC LIMIT ?",
        *(_json(base_ids), *params, *(None if document_ids is None else _json(document_ids),) * 2, MOST_NAMES),
    )
    return [Named(id=document_id, filename=filename) for document_id, filename in rows]


def outline(db: Reader, caller: Caller, document_ids: Sequence[str], *, beginnings: bool = False) -> Outline:
    """What these documents consist of, in order; with `beginnings` only the first passage of each is to choose from.

    Of more than `_MOST_LOOKED_AT` passages the parts are every second, or third, and so on.
    """
    where, params = sharing.visible_to(caller, BASES)
    source = (
        " FROM json_each(?) AS wanted JOIN documents ON documents.id = wanted.value"  # noqa: S608 (constants)
        " JOIN knowledge_indexes AS indexes ON indexes.base_id = documents.base_id AND indexes.state = 'active'"
        f" WHERE documents.base_id IN (SELECT id FROM knowledge_bases WHERE {where})"
    )
    here = " FROM chunks WHERE index_id = indexes.row_id AND document_id = documents.id"
    rows = db.all(
        "SELECT wanted.key, indexes.row_id, documents.id, page_count,"
        f' (SELECT COUNT(*){here}), (SELECT "end"{here} ORDER BY position DESC LIMIT 1){source} ORDER BY wanted.key',
        *(_json(document_ids), *params),
    )
    passages = sum(count for *_, count, _ in rows)
    pages = [count for *_, count, _, _ in rows]
    every = _BEYOND_ALL if beginnings else max(1, -(-passages // _MOST_LOOKED_AT))
    parts = [
        Part(row_id, key, heading, size)
        for key, index_id, document_id, *_ in rows
        for row_id, heading, size in db.all(
            'SELECT row_id, heading, "end" - start FROM chunks WHERE index_id = ? AND document_id = ?'
            " AND position % ? = 0 ORDER BY position",
            *(index_id, document_id, every),
        )
    ]
    return Outline(
        parts=parts,
        documents=len(rows),
        passages=passages,
        characters=sum(end or 0 for *_, end in rows),
        pages=None if None in pages else sum(pages),
    )


def spread(sections: Sequence[Hashable], most: int) -> list[int]:
    """At most so many places of `sections`, in order: where each section begins, then more of the longest ones."""
    if len(sections) <= most:
        return list(range(len(sections)))
    openings = [at for at in range(len(sections)) if at == 0 or sections[at] != sections[at - 1]]
    if len(openings) >= most:
        return _evenly(openings, most)
    lengths = [end - start for start, end in pairwise([*openings, len(sections)])]
    # the section with the widest steps gets the next place
    steps: list[tuple[float, int, int]] = [(-length, at, 1) for at, length in enumerate(lengths)]
    heapify(steps)
    for _ in range(most - len(openings)):
        _, at, places = steps[0]
        heapreplace(steps, (-lengths[at] / (places + 1), at, places + 1))
    return sorted(openings[at] + number * lengths[at] // places for _, at, places in steps for number in range(places))


def passages(db: Reader, caller: Caller, parts: Iterable[Part]) -> list[Result]:
    """The passages at these parts, in order; those that are gone by now, or no longer the caller's to read, are not."""
    where, params = sharing.visible_to(caller, BASES)
    rows = db.all(
        'SELECT chunks.id, documents.id, documents.base_id, filename, page, heading, start, "end", text'  # noqa: S608
        " FROM json_each(?) AS wanted JOIN chunks ON chunks.row_id = wanted.value"
        " JOIN documents ON documents.id = chunks.document_id"
        f" WHERE documents.base_id IN (SELECT id FROM knowledge_bases WHERE {where}) ORDER BY wanted.key",
        *(msgspec.json.encode([part.row_id for part in parts]).decode(), *params),
    )
    return [
        Result(
            chunk_id=chunk_id,
            document_id=document_id,
            knowledge_base_id=base_id,
            filename=filename,
            page=page,
            heading=heading,
            start=start,
            end=end,
            text=text,
            score=0.0,
            similarity=None,
            relevance=None,
            ranks=Ranks(vector=None, keyword=None),
        )
        for chunk_id, document_id, base_id, filename, page, heading, start, end, text in rows
    ]


def _evenly(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, from the first to the last."""
    if len(places) <= most:
        return list(places)
    if most < 2:
        return list(places[:most])
    return [places[round(number * (len(places) - 1) / (most - 1))] for number in range(most)]


def _characters(given: Sequence[Result]) -> int:
    """How many characters the passages hold, those that two of them share once."""
    total = 0
    reached: dict[str, int] = {}
    for each in sorted(given, key=lambda each: each.start):
        total += max(0, each.end - max(each.start, reached.get(each.document_id, 0)))
        reached[each.document_id] = max(each.end, reached.get(each.document_id, 0))
    return total


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
