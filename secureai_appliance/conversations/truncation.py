"""`truncation: "auto"`: the oldest turns are left out until the prompt fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from secureai_appliance.inference.tokens import TooManyTokens

TYPICAL_ANSWER = 256

Messages = Sequence[dict[str, Any]]
Render = Callable[[Messages], list[int]]


@dataclass(frozen=True)
class Fitted:
    """`prompt`: tokens. `dropped`: positions of the messages that were left out; `whole`: tokens with all of them."""

    prompt: list[int]
    dropped: list[int]
    whole: int


def room(context_length: int, max_tokens: int | None) -> int:
    """How many tokens a prompt may have so that an answer fits beside it; at least half of the context."""
    return context_length - min(max_tokens or TYPICAL_ANSWER, context_length // 2)


def fit(render: Render, messages: Messages, limit: int) -> Fitted:
    """The prompt of as many of the newest turns as fit into `limit` tokens.

    A turn is a user's message and what follows it, so that no tool's result loses its call. Instructions at the
    beginning and the last turn stay, even if they alone don't fit. Renders about log2(turns) times.

    Raises TooManyTokens.
    """
    prompt, whole = _counted(render, messages)
    head, turns = _turns(messages)
    if whole <= limit or len(turns) < 2:
        return Fitted(_required(prompt, whole), [], whole)
    fewest, most = 1, len(turns) - 1
    prompt, count = _counted(render, _without(messages, head, turns, most))
    while fewest < most:
        middle = (fewest + most) // 2
        shorter, shorter_count = _counted(render, _without(messages, head, turns, middle))
        if shorter_count <= limit:
            most, prompt, count = middle, shorter, shorter_count
        else:
            fewest = middle + 1
    return Fitted(_required(prompt, count), list(range(head, turns[most])), whole)


def _counted(render: Render, messages: Messages) -> tuple[list[int] | None, int]:
    """The tokens, None where there are too many to hold, and their number."""
    try:
        tokens = render(messages)
    except TooManyTokens as cause:
        return None, cause.count
    return tokens, len(tokens)


def _required(prompt: list[int] | None, count: int) -> list[int]:
    if prompt is None:
        raise TooManyTokens(count)
    return prompt


def _turns(messages: Messages) -> tuple[int, list[int]]:
    """How many messages of instruction there are at the beginning, and where each turn after them begins."""
    head = 0
    while head < len(messages) and messages[head]["role"] in ("system", "developer"):
        head += 1
    starts = [index for index in range(head, len(messages)) if index == head or messages[index]["role"] == "user"]
    return head, starts


def _without(messages: Messages, head: int, turns: list[int], count: int) -> Messages:
    return [*messages[:head], *messages[turns[count] :]]
