"""What of a client's request goes on to the other server."""

from __future__ import annotations

from typing import Any

import msgspec

from secureai_appliance.conversations.messages import SamplingFields

# ours alone, or said anew for the other server
_NOT_FORWARDED = frozenset({"model", "stream", "stream_options", "assistant_id", "truncation", "store", "functions"})
_NOT_FORWARDED |= {"chat_id", "metadata", "knowledge_base_ids", "retrieval"}
_NOT_FORWARDED |= {"function_call", "modalities", "audio", "prediction", "web_search_options"}


def known(request: SamplingFields, their_name: str) -> dict[str, Any]:
    """What the client said, as far as we know it, and nothing that it didn't say."""
    said: dict[str, Any] = _without_nulls(msgspec.to_builtins(request))
    body = {name: value for name, value in said.items() if name not in _NOT_FORWARDED}
    for message in body.get("messages", ()):
        message.setdefault("content", None)
    return {"model": their_name, **body}


def _without_nulls(value: Any, *, keep: bool = False) -> Any:
    """`keep`: inside what is the client's own JSON (schemas), where null means something."""
    if isinstance(value, dict):
        return {
            name: _without_nulls(inner, keep=keep or name in {"parameters", "schema"})
            for name, inner in value.items()
            if keep or inner is not None
        }
    return [_without_nulls(inner, keep=keep) for inner in value] if isinstance(value, list) else value
