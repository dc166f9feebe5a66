"""What a request to a remote model takes of its user's tokens: estimated, because only the other server can count them.

The estimate is reserved before and what was really used counted after. A server that tells no counts, or whose client
hangs up before it does, is charged by the estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from secureai_appliance.conversations.running import LEAST_ANSWER, Budget

_BYTES_PER_TOKEN = 4
_UNSAID = 4096
"""Tokens that an answer may have when nobody said how many, and nobody knows the model's context."""
_READ = ("messages", "prompt", "tools", "response_format", "input")


def tokens_of(body: Mapping[str, Any]) -> int:
    """About how many tokens the model has to read."""
    return in_tokens(len(msgspec.json.encode({name: body[name] for name in _READ if name in body})))


def in_tokens(size: int) -> int:
    """About how many tokens so many bytes are."""
    return -(-size // _BYTES_PER_TOKEN)


def afford(budget: Budget | None, body: Mapping[str, Any], context: int | None) -> dict[str, int]:
    """Reserve what the answer to `body` may use; the fields that make it no longer than that.

    Raises RateLimitExceeded.
    """
    if budget is None or not budget.bounded:
        return {}
    prompt = tokens_of(body)
    name = "max_completion_tokens" if body.get("max_completion_tokens") else "max_tokens"
    said = body.get(name)
    answers = (body.get("n") or 1) * _prompts(body.get("prompt"))
    room = said or (max(1, context - prompt) if context else _UNSAID)
    least = room if said else min(room, LEAST_ANSWER)
    granted = budget.reserve(prompt, least * answers, room * answers)
    return {name: max(1, min(room, granted // answers))}


def _prompts(prompt: Any) -> int:
    """How many there are: a list of numbers is one, as tokens."""
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
