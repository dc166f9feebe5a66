"""What a kept conversation shows of documents: as much as whoever reads it may read of them at that moment.

An answer has its citations, and what a tool found has those that it told. What a model made of them stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations.answers import Citation
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.knowledge import documents
from secureai_appliance.knowledge.passages import head
from secureai_appliance.store import Reader


def told_in(text: str, citations: Sequence[Citation]) -> list[Citation]:
    """Those of an answer's sources whose passages stand in what a tool said."""
    return [each for each in citations if re.search(_begins(each), text)]


def show(db: Reader, reader: Caller | None, messages: Iterable[ChatMessage]) -> None:
    """Have these messages tell of documents what `reader` may read (None: nothing), and of others only their ids."""
    citing = [message for message in messages if message.citations]
    cited = {citation.document_id for message in citing for citation in message.citations or ()}
    readable = set() if reader is None else documents.readable(db, reader, cited)
    for message in citing:
        citations = message.citations or []
        if message.role == "tool" and message.content:
            message.content = _without(message.content, citations, readable)
        message.citations = [each if each.document_id in readable else _covered(each) for each in citations]


def _without(text: str, citations: Sequence[Citation], readable: set[str]) -> str:
    """What a tool said without the passages of other documents: each goes up to where the next one begins."""
    if readable.issuperset(each.document_id for each in citations):
        return text
    found = [(match.start(), each) for each in citations for match in re.finditer(_begins(each), text)]
    begins = sorted(found, key=lambda place: place[0])
    ends = [*(start for start, _ in begins[1:]), len(text)]
    pieces = [text[: begins[0][0] if begins else None]]
    for (start, each), end in zip(begins, ends, strict=True):
        pieces.append(text[start:end] if each.document_id in readable else f"[{each.index}] (no longer available)\n\n")
    return "".join(pieces).rstrip()


def _begins(citation: Citation) -> str:
    first = head(citation.index, citation.filename or "", citation.page, citation.heading or "")
    return rf"(?m)^{re.escape(first)}$"


def _covered(citation: Citation) -> Citation:
    return msgspec.structs.replace(citation, available=False, filename=None, page=None, heading=None, quote=None)
