"""What of the passages that were found a model is given: what there is room for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from secureai_appliance.conversations.room import Room
from secureai_appliance.knowledge.passages import Result, block
from secureai_appliance.knowledge.whole import spread

_LEAST_PART = 96
"""Tokens of each part of a document of which there is no room for all: a few sentences and where they stand."""
_LEAST_TRIMMED = 32
_BETWEEN = 2
_LEAST_TEXT = 8
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。!?]|\n")


@dataclass
class Fitted:
    """The sources that the model is given, each with its block of text in the prompt and about what that takes."""

    sources: list[Result] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    left_out: list[Result] = field(default_factory=list)
    shortened: bool = False

    def add(self, source: Result, told: str, tokens: int) -> None:
        self.sources.append(source)
        self.blocks.append(told)
        self.tokens.append(tokens)


def most_parts(room: int) -> int:
    """Into how many parts of documents so many tokens are best divided."""
    return max(1, room // _LEAST_PART)


def fit_best(passages: Sequence[Result], room: Room, left: int) -> Fitted:
    """The passages for which there is room, in their order; at least the beginning of the first."""
    fitted = Fitted()
    for passage in passages:
        source, index = passage, len(fitted.sources) + 1
        told = block(index, source)
        tokens = room.count(told) + _BETWEEN
        if tokens > left and not fitted.sources:
            source, told, tokens = _beginning(passage, room, left, tokens)
        elif tokens > left:
            fitted.left_out.append(passage)
            continue
        left -= tokens
        fitted.add(source, told, tokens)
    return fitted


def fit_parts(passages: Sequence[Result], room: Room, left: int) -> Fitted:
    """Passages of documents in order; where there is no room for all of them, the beginnings of some from all over.

    The room is shared out evenly; what short ones leave of it goes to the others. What the passage before has told
    already is not told again.
    """
    wanted = _whole(passages, room)
    if sum(wanted) > left and len(passages) > most_parts(left):
        passages = [passages[at] for at in spread([(p.document_id, p.heading) for p in passages], most_parts(left))]
        wanted = _whole(passages, room)
    fitted = Fitted()
    after: dict[str, int] = {}
    shares = _shares(wanted, left)
    for passage, share in zip(passages, shares, strict=True):
        index, told_before = len(fitted.sources) + 1, after.get(passage.document_id, 0)
        told = block(index, passage, told_before)
        source, tokens = passage, room.count(told) + _BETWEEN
        if tokens > share:
            shorter = _shortened(passage, index, told_before, room, share)
            if shorter is None and fitted.sources:
                fitted.left_out.append(passage)
                continue
            source, told, tokens = shorter or _beginning(passage, room, left, tokens)
            fitted.shortened = True
        after[source.document_id] = source.end
        fitted.add(source, told, tokens)
    return fitted


def _whole(passages: Sequence[Result], room: Room) -> list[int]:
    """What each would take in full."""
    after: dict[str, int] = {}
    taken = []
    for number, passage in enumerate(passages, 1):
        taken.append(room.count(block(number, passage, after.get(passage.document_id, 0))) + _BETWEEN)
        after[passage.document_id] = passage.end
    return taken


def _shares(wanted: Sequence[int], left: int) -> list[int]:
    """Even shares of what is left; who wants less leaves the rest to the others."""
    shares = [0] * len(wanted)
    waiting = len(wanted)
    for at in sorted(range(len(wanted)), key=wanted.__getitem__):
        shares[at] = min(wanted[at], max(0, left) // waiting)
        left -= shares[at]
        waiting -= 1
    return shares


def _shortened(passage: Result, index: int, after: int, room: Room, most: int) -> tuple[Result, str, int] | None:
    """As much of a passage's beginning as takes at most so many tokens; None when that is hardly any."""
    begun = max(passage.start, min(after, passage.end))
    head = room.count(block(index, msgspec.structs.replace(passage, text=""))) + _BETWEEN
    text = room.count(passage.text[begun - passage.start :])
    share = (most - head) / max(1, text)
    while share * text >= _LEAST_TEXT:
        source = _trimmed(passage, begun, share)
        told = block(index, source, after)
        tokens = room.count(told) + _BETWEEN
        if tokens <= most:
            return source, told, tokens
        share *= 0.8
    return None


def _beginning(passage: Result, room: Room, left: int, tokens: int) -> tuple[Result, str, int]:
    """At least the beginning of the first, whatever room there is."""
    source = _trimmed(passage, passage.start, max(left, _LEAST_TRIMMED) / tokens)
    told = block(1, source)
    return source, told, room.count(told) + _BETWEEN


def _trimmed(passage: Result, begun: int, share: float) -> Result:
    """A passage up to about this share of what stands in it from `begun` on.

    It ends behind a sentence where one ends in its second half, else between words.
    """
    offset = begun - passage.start
    cut = offset + max(1, int((len(passage.text) - offset) * min(share, 1.0) * 0.9))
    ends = [found.end() for found in _SENTENCE_END.finditer(passage.text, offset + (cut - offset) // 2, cut)]
    text = passage.text[:cut]
    if ends:
        text = text[: ends[-1]].rstrip()
    elif " " in text[offset + 1 :]:
        text = text[: text.rfind(" ")].rstrip()
    return msgspec.structs.replace(passage, text=text, end=passage.start + len(text))
