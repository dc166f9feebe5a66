"""The built-in tool `knowledge_search`: passages of documents, with the rights of whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.core.errors import Failure
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.knowledge import bases
from secureai_appliance.knowledge.bar import bar
from secureai_appliance.knowledge.passages import Result, SearchRequest, block
from secureai_appliance.knowledge.reranking import chosen
from secureai_appliance.knowledge.search import search
from secureai_appliance.store import Store

if TYPE_CHECKING:
    from secureai_appliance.models.registry import Models

NOTHING = "Nothing about this was found in the documents."
_TOP_K = 5


@dataclass
class Asker:
    """On whose behalf tools work.

    `base_ids`: where `knowledge_search` looks; None: in all bases that they may read. What it finds is put into
    `sources`, numbered on over all calls of an answer. `used` is told the embedding model and its tokens.
    """

    caller: Caller
    base_ids: Sequence[str] | None = None
    sources: list[Result] = field(default_factory=list)
    used: Callable[[str, int], None] = lambda model, tokens: None


def find(
    store: Store,
    models: Models,
    asker: Asker,
    query: str,
    *,
    values: Mapping[str, Any],
    chars: int,
    abandoned: Callable[[], bool],
) -> str:
    """The passages for the model, in about `chars` characters, by the settings. Raises ToolFailure."""
    try:
        asker.caller.require("knowledge:read")
        with store.read() as db:
            base_ids = bases.readable(db, asker.caller) if asker.base_ids is None else asker.base_ids
        if not base_ids:
            return NOTHING
        body = SearchRequest(query=query, top_k=_TOP_K, explain=True)
        reranker = chosen(store, models, values, None, _TOP_K)
        found = search(
            *(store, models, asker.caller, base_ids, body), reranker=reranker, abandoned=abandoned, used=asker.used
        )
    except Abandoned as cause:
        raise ToolFailure("cancelled", "The call was cancelled.") from cause
    except Failure as failure:
        raise ToolFailure(failure.type, failure.message) from failure
    return _told(asker, list(filter(bar(values, found).passes, found.data)), chars)


def _told(asker: Asker, found: Sequence[Result], chars: int) -> str:
    blocks: list[str] = []
    for passage in found:
        numbers = {known.chunk_id: number for number, known in enumerate(asker.sources, 1)}
        number = numbers.get(passage.chunk_id, len(asker.sources) + 1)
        told = block(number, passage)
        chars -= len(told) + 2
        if blocks and chars < 0:
            break
        blocks.append(told)
        if passage.chunk_id not in numbers:
            asker.sources.append(passage)
    return "\n\n".join(blocks) or NOTHING
