"""What a chat completion answers, whole and in chunks: OpenAI's shapes, field by field."""

from __future__ import annotations

from typing import Literal

import msgspec

from secureai_appliance.conversations.logprobs import ChoiceLogprobs
from secureai_appliance.conversations.running import Counts
from secureai_appliance.knowledge.whole import Coverage

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class PromptTokensDetails(msgspec.Struct, kw_only=True):
    """`cached_tokens`: how much of the prompt was there already."""

    cached_tokens: int


class Usage(msgspec.Struct, kw_only=True):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


def usage_of(counts: Counts | None) -> Usage | None:
    """The counts as OpenAI names them."""
    if counts is None:
        return None
    return Usage(
        prompt_tokens=counts.prompt,
        completion_tokens=counts.completion,
        total_tokens=counts.prompt + counts.completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=counts.cached),
    )


class FunctionCall(msgspec.Struct, kw_only=True):
    """Which function, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, kw_only=True):
    """A call that the model asks the client to make."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class AnswerMessage(msgspec.Struct, kw_only=True):
    """The model's message. `content` is null where there are only tool calls.

    `refusal` takes its place where the answer has to be JSON and the documents say nothing.
    """

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: list[ToolCall] | msgspec.UnsetType = msgspec.UNSET


class Choice(msgspec.Struct, kw_only=True):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason


class ToolError(msgspec.Struct, kw_only=True):
    """Why a call came to nothing. `code`: `invalid_arguments`, `blocked`, `timeout`, `too_large`, `server_error`, …"""

    code: str
    message: str


class ToolRun(msgspec.Struct, kw_only=True):
    """A call that the appliance made itself. In a stream it is told twice: when it begins, and with what came of it."""

    id: str
    tool_id: str | None
    name: str
    arguments: str
    status: Literal["running", "done", "failed"]
    result: str | None
    error: ToolError | None
    duration_ms: int | None


class Truncation(msgspec.Struct, kw_only=True):
    """What `truncation: "auto"` left out: positions in `messages`, and the tokens of the prompt with all of them."""

    dropped_messages: list[int]
    original_prompt_tokens: int


class Citation(msgspec.Struct, kw_only=True):
    """A source that the model was given: characters `start` to `end` of the document's text, which are `quote`.

    `index` is the number under which the answer's text refers to it, `cited` whether it does. `page` is where the quote
    begins; null in formats without pages. `score` from 0 to 1: how relevant it is to the question; null where the
    document was taken as a whole. `available`: whether who reads it may read the document, now; where not, or where it
    is gone, name, page, heading and quote are null.
    """

    index: int
    cited: bool
    available: bool = True
    knowledge_base_id: str
    document_id: str
    filename: str | None
    page: int | None
    heading: str | None
    chunk_id: str
    start: int
    end: int
    score: float | None
    quote: str | None


class Retrieved(msgspec.Struct, kw_only=True):
    """What an answer was made from.

    `outcome`: `passages`, the best ones; `document`, a document as a whole; `conversation`: nothing was looked for, to
    answer a greeting or to work on what was said; `not_in_documents`: nothing reached `min_score`, and no model was
    asked to answer all the same. `left_out`: passages that the model was not given, because its context or
    `document_tokens` had no room; `coverage`: how much of a `document` it was given, null otherwise. `trace_id`: see
    `/knowledge/{id}/traces/{trace_id}`; null of a `conversation`, and when it could not be kept.
    """

    outcome: Literal["passages", "document", "conversation", "not_in_documents"]
    query: str
    min_score: float
    best_score: float | None
    sources: int
    left_out: int
    coverage: Coverage | None
    trace_id: str | None


class ChatCompletion(msgspec.Struct, kw_only=True):
    """The whole answer. `created` in Unix seconds. `chat_id`: the chat that it is kept in."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str
    truncation: Truncation | msgspec.UnsetType = msgspec.UNSET
    chat_id: str | msgspec.UnsetType = msgspec.UNSET
    tool_runs: list[ToolRun] | msgspec.UnsetType = msgspec.UNSET
    citations: list[Citation] | msgspec.UnsetType = msgspec.UNSET
    retrieval: Retrieved | msgspec.UnsetType = msgspec.UNSET


class FunctionDelta(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a chunk adds to a call's function: `arguments` are appended."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a chunk adds to the tool call at `index`; the first one has its id, type and name."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class Delta(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(msgspec.Struct, kw_only=True):
    """One of the answers, continued."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None


class Chunk(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An event of a streamed answer. `usage` only where it was asked for, `truncation` in the first one.

    `chat_id` is in each one of an answer that is kept in a chat; `citations` and `retrieval` in the one with the last
    `finish_reason`, where knowledge was used.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    truncation: Truncation | msgspec.UnsetType = msgspec.UNSET
    chat_id: str | msgspec.UnsetType = msgspec.UNSET
    tool_runs: list[ToolRun] | msgspec.UnsetType = msgspec.UNSET
    citations: list[Citation] | msgspec.UnsetType = msgspec.UNSET
    retrieval: Retrieved | msgspec.UnsetType = msgspec.UNSET


class Gathered:
    """An answer put together from its chunks, as far as they have come."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self.tool_calls: list[ToolCall] = []

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def content(self) -> str | None:
        """As a message has it: null where there are only tool calls."""
        return None if self.tool_calls and not self.text else self.text

    def add(self, delta: Delta) -> None:
        """Put what a chunk adds to the rest."""
        self._text.append(delta.content or delta.refusal or "")
        for part in delta.tool_calls or ():
            self._add_call(part)

    def take(self, message: AnswerMessage) -> None:
        """Put a whole message in."""
        self._text.append(message.content or message.refusal or "")
        self.tool_calls += message.tool_calls or []

    def _add_call(self, part: ToolCallDelta) -> None:
        if part.id is not None:
            self.tool_calls.append(ToolCall(id=part.id, function=FunctionCall(name="", arguments="")))
        function = self.tool_calls[part.index].function
        if part.function is not None:
            function.name += part.function.name or ""
            function.arguments += part.function.arguments or ""
