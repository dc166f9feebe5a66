"""Log-probabilities of tokens in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from secureai_appliance.inference.sampling import TokenLogprob
from secureai_appliance.inference.tokens import Vocabulary


class Alternative(msgspec.Struct, kw_only=True):
    """A token that could have come. `bytes` are its UTF-8, which need not be whole characters."""

    token: str
    logprob: float
    bytes: list[int] | None


class Logprob(Alternative, kw_only=True):
    """A token of the answer, and the likeliest in its place."""

    top_logprobs: list[Alternative]


class ChoiceLogprobs(msgspec.Struct, kw_only=True):
    """One entry for each token of the text."""

    content: list[Logprob] | None
    refusal: None = None


def of_tokens(vocabulary: Vocabulary, tokens: Iterable[TokenLogprob]) -> list[Logprob]:
    """What OpenAI's clients are told about `tokens`."""
    return [
        Logprob(
            token=_text(vocabulary, entry.token),
            logprob=entry.logprob,
            bytes=list(vocabulary.piece_or_name(entry.token)),
            top_logprobs=[
                Alternative(token=_text(vocabulary, token), logprob=value, bytes=list(vocabulary.piece_or_name(token)))
                for token, value in entry.top
            ],
        )
        for entry in tokens
    ]


def _text(vocabulary: Vocabulary, token: int) -> str:
    return vocabulary.piece_or_name(token).decode("utf-8", "replace")
