"""`POST /tokenize`: what a text, or messages with tools, are to a model."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from secureai_appliance.conversations import messages, tools
from secureai_appliance.conversations.messages import Message, Tool
from secureai_appliance.core.errors import UnprocessableEntity, ValidationError
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.tokens import TooManyTokens
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import Loaded


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """Either `input`, a text as it is, or `messages` (and `tools`), as the model's template writes them."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    input: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1, max_length=10_000)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None


class TokenList(msgspec.Struct, kw_only=True):
    """Ids of tokens. `context_length`: how many a request may have, answer included."""

    object: Literal["tokens"] = "tokens"
    model: str
    tokens: list[int]
    count: int
    context_length: int


def tokenize(loaded: Loaded, row: ModelRow, request: TokenizeRequest) -> TokenList:
    """The tokens.

    Raises ValidationError unless there is one of `input` and `messages`, UnprocessableEntity when the model takes no
    messages.
    """
    if (request.input is None) == (request.messages is None):
        raise ValidationError(
            "One of the fields 'input' and 'messages' is required.", field="input", constraint="required"
        )
    try:
        tokens = _tokens(loaded, row, request)
    except TooManyTokens as cause:
        raise ValidationError(
            f"There are {cause.count} tokens, more than any model reads.",
            field="input" if request.messages is None else "messages",
            constraint="max_tokens",
            details={"prompt_tokens": cause.count},
        ) from cause
    limit = loaded.context_length if isinstance(loaded, Engine) else loaded.max_tokens
    return TokenList(model=row.id, tokens=tokens, count=len(tokens), context_length=limit)


def _tokens(loaded: Loaded, row: ModelRow, request: TokenizeRequest) -> list[int]:
    if request.messages is not None:
        return _of_messages(loaded, row, request.messages, request.tools or [])
    text = request.input or ""
    return loaded.vocabulary.tokenize(text) if isinstance(loaded, Engine) else loaded.tokenize(text)


def _of_messages(loaded: Loaded, row: ModelRow, given: list[Message], offered: list[Tool]) -> list[int]:
    if not isinstance(loaded, Engine) or loaded.template is None:
        raise UnprocessableEntity(
            f"The model '{row.id}' takes no messages.", code="unsupported_model", field="messages", param="model"
        )
    segments = tools.render(loaded.template, messages.for_template(given), offered)
    return loaded.vocabulary.tokenize_segments(segments)
