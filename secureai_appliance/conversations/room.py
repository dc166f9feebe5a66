"""How many tokens a model's context has left, and how many a text takes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secureai_appliance.conversations import truncation
from secureai_appliance.conversations.messages import ChatRequest, plain_text
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.tokens import TooManyTokens
from secureai_appliance.models.catalogue import ModelRow

if TYPE_CHECKING:
    from secureai_appliance.models.registry import Models

UNKNOWN_CONTEXT = 4096
"""Of a model elsewhere that does not say."""
_PER_MESSAGE = 8  # what templates put around each
_WORD = re.compile(r"[A-Za-z]+")
_BLANK_BEFORE_DIGIT = re.compile(r" (?=\d)")


@dataclass(frozen=True)
class Room:
    """`tokens` for a prompt beside its answer; `count` gives those of a text, or at least as many."""

    tokens: int
    count: Callable[[str], int]

    def left(self, request: ChatRequest) -> int:
        """What the conversation leaves. Where old turns may go, they make way for up to half of the room."""
        taken = [self.count(plain_text(message)) + _PER_MESSAGE for message in request.messages]
        left = self.tokens - sum(taken)
        if request.truncation != "auto":
            return left
        return max(left, min(self.tokens - taken[0] - taken[-1], self.tokens // 2))


def room_of(models: Models, row: ModelRow, request: ChatRequest, besides: str = "") -> Room:
    """The room that this model has for a request; counted by characters while it is not in memory, or elsewhere.

    `besides`: what stands in the prompt beside the messages.
    """
    context = models.show(row).context_length or UNKNOWN_CONTEXT
    tokens = truncation.room(context, request.max_completion_tokens or request.max_tokens)
    loaded = models.in_memory().get(row.id)
    count = _counted(loaded) if isinstance(loaded, Engine) else estimated
    return Room(tokens - (count(besides) if besides else 0), count)


def estimated(text: str) -> int:
    """Rather too many than too few: a token for three letters of a word, a digit, a sign, half a letter of others."""
    words = _WORD.findall(text)
    foreign = sum(1 for letter in text if not letter.isascii())
    blanks = text.count(" ") - len(_BLANK_BEFORE_DIGIT.findall(text)) - text.count("    ")
    signs = len(text) - sum(map(len, words)) - foreign - blanks
    return sum((len(word) + 2) // 3 for word in words) + signs + 2 * foreign + 1


def _counted(engine: Engine) -> Callable[[str], int]:
    def count(text: str) -> int:
        try:
            return len(engine.vocabulary.tokenize(text))
        except TooManyTokens as cause:
            return cause.count

    return count
