"""Traces: how the passages of an answer were found, kept for a while for whoever asked.

A trace names passages of bases. It is shown to who made it, while they may read every base that was looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound
from secureai_appliance.core.ids import new_id
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.knowledge import bases
from secureai_appliance.knowledge.bases import BASES
from secureai_appliance.knowledge.fusion import Mode
from secureai_appliance.knowledge.passages import Ranks, Trace
from secureai_appliance.knowledge.whole import Coverage
from secureai_appliance.store import Reader, Transaction

OWNED = (Owned("retrieval_traces", "user_id", "delete"),)
MOST_OF_A_USER = 200
"""The newest; each may have some 30 KB."""
_RETAINED_AT_ONCE = 500

Outcome = Literal["passages", "document", "not_in_documents"]
"""What an answer was made from: the best passages, a document as a whole, or nothing, because nothing was relevant."""


class Source(msgspec.Struct, kw_only=True):
    """A passage that the model was given. `index` is its number in the prompt, `tokens` about what it took there."""

    index: int
    chunk_id: str
    document_id: str
    score: float
    ranks: Ranks
    tokens: int


class Retrieval(msgspec.Struct, kw_only=True):
    """How the passages of an answer were found.

    `query` and the search's `terms` are left out where the conversation is not kept. `search` is null where a document
    was taken as a whole. What did not come into the prompt stands in `search.cut`, with the reason.
    """

    outcome: Outcome
    query: str | None
    mode: Mode
    top_k: int
    min_score: float
    best_score: float | None
    room_tokens: int
    """What there was for sources: of the model's context, or of `document_tokens`."""
    coverage: Coverage | None = None
    """How much of a document as a whole the model was given."""
    sources: list[Source]
    search: Trace | None


class StoredTrace(Retrieval, kw_only=True):
    """A trace as it is kept."""

    id: str
    knowledge_base_ids: list[str]
    created_at: str
    updated_at: str


def add(tx: Transaction, caller: Caller, base_ids: Sequence[str], trace: Retrieval) -> str:
    """Keep a trace; the user's oldest ones go. Its id."""
    trace_id = new_id("trace")
    tx.run(
        "INSERT INTO retrieval_traces (id, user_id, trace, created_at) VALUES (?, ?, ?, ?)",
        *(trace_id, caller.user_id, msgspec.json.encode(trace).decode(), tx.now()),
    )
    row_id = tx.value("SELECT last_insert_rowid()")
    for base_id in dict.fromkeys(base_ids):
        # one that was deleted a moment ago has no trace any more
        tx.run(
            "INSERT INTO retrieval_trace_bases (trace_row_id, base_id) SELECT ?, id FROM knowledge_bases WHERE id = ?",
            *(row_id, base_id),
        )
    tx.run(
        "DELETE FROM retrieval_traces WHERE user_id = ? AND row_id <="
        " (SELECT row_id FROM retrieval_traces WHERE user_id = ? ORDER BY row_id DESC LIMIT 1 OFFSET ?)",
        *(caller.user_id, caller.user_id, MOST_OF_A_USER),
    )
    return trace_id


def get(db: Reader, caller: Caller, base_id: str, trace_id: str) -> StoredTrace:
    """One of the caller's own traces, of a base that they may read, by its id or slug. Raises NotFound."""
    shown = of_user(db, caller.user_id, bases.find(db, caller, base_id), trace_id)
    where, params = sharing.visible_to(caller, BASES)
    visible = db.value(
        "SELECT COUNT(*) FROM json_each(?) AS looked JOIN knowledge_bases ON knowledge_bases.id = looked.value"  # noqa: S608
        f" WHERE {where}",
        *(msgspec.json.encode(shown.knowledge_base_ids).decode(), *params),
    )
    if visible != len(shown.knowledge_base_ids):
        raise NotFound("There is no such trace.")
    return shown


def of_user(db: Reader, user_id: str, base_id: str, trace_id: str) -> StoredTrace:
    """A trace of this user's, of this base. Raises NotFound."""
    row = db.one(
        "SELECT retrieval_traces.row_id, trace, created_at FROM retrieval_traces JOIN retrieval_trace_bases"
        " ON trace_row_id = retrieval_traces.row_id WHERE user_id = ? AND base_id = ? AND id = ?",
        *(user_id, base_id, trace_id),
    )
    if row is None:
        raise NotFound("There is no such trace.")
    row_id, trace, created_at = row
    looked = db.all("SELECT base_id FROM retrieval_trace_bases WHERE trace_row_id = ? ORDER BY base_id", row_id)
    return StoredTrace(
        **msgspec.structs.asdict(msgspec.json.decode(trace, type=Retrieval)),
        id=trace_id,
        knowledge_base_ids=[each for (each,) in looked],
        created_at=rfc3339(created_at),
        updated_at=rfc3339(created_at),
    )


def retain(tx: Transaction, before: int) -> int:
    """Drop some traces older than `before` (Unix seconds); how many, 0 when all is done."""
    return tx.run(
        "DELETE FROM retrieval_traces WHERE row_id IN"
        " (SELECT row_id FROM retrieval_traces WHERE created_at < ? ORDER BY created_at LIMIT ?)",
        *(before, _RETAINED_AT_ONCE),
    )
