"""What a kept conversation shows of documents: as much as whoever reads it may read of them at that moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations.answers import Citation
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.knowledge import documents
from secureai_appliance.store import Reader


def show(db: Reader, reader: Caller | None, messages: Iterable[ChatMessage]) -> None:
    """Have the citations of these messages tell what `reader` may read (None: nothing), and else only ids."""
    citing = [message for message in messages if message.citations]
    cited = {citation.document_id for message in citing for citation in message.citations or ()}
    readable = set() if reader is None else documents.readable(db, reader, cited)
    for message in citing:
        message.citations = _shown(message.citations or (), readable)


def _shown(citations: Sequence[Citation], readable: set[str]) -> list[Citation]:
    return [each if each.document_id in readable else _covered(each) for each in citations]


def _covered(citation: Citation) -> Citation:
    return msgspec.structs.replace(citation, available=False, filename=None, page=None, heading=None, quote=None)
