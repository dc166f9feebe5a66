"""Completions and embeddings of remote models: the request goes on to the other server, its answer comes back as ours.

Both kinds of completion fulfil what the local ones do (`begin`, `next`, `whole`, `close`), so that whoever sends an
answer does not know where it was made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from secureai_appliance.conversations import messages, remote_budget, remote_fields
from secureai_appliance.conversations.answers import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    FinishReason,
    FunctionCall,
    Gathered,
    PromptTokensDetails,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from secureai_appliance.conversations.logprobs import ChoiceLogprobs
from secureai_appliance.conversations.messages import ChatRequest, SamplingFields
from secureai_appliance.conversations.running import PATIENCE_BEFORE_FIRST_BYTE, Budget, ClientGone, Comment
from secureai_appliance.conversations.text_completions import (
    TextChoice,
    TextCompletion,
    TextRequest,
    prompts_of,
    refuse_unsupported,
)
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.ids import new_id
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import require_kind
from secureai_appliance.models.remotes import Exchange, Remotes, TheirCount, garbled

_POLL = 0.05
_SECONDS_BETWEEN_COMMENTS = 5.0

Whole_co = TypeVar("Whole_co", covariant=True)
Part_co = TypeVar("Part_co", bound=msgspec.Struct, covariant=True)


class _Usage(msgspec.Struct):
    prompt_tokens: TheirCount = 0
    completion_tokens: TheirCount = 0
    prompt_tokens_details: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Delta | None = None
    text: str = ""
    logprobs: Any = None
    finish_reason: str | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class _Answer(msgspec.Struct):
    """An answer or a chunk of it, as far as it is passed on."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    system_fingerprint: str | None = None


class Shape(Protocol[Whole_co, Part_co]):
    """One of OpenAI's two completions: what is sent for it, and what comes back in our structs."""

    id: str
    path: str

    def body(self, their_name: str) -> dict[str, Any]: ...

    def whole(self, answer: _Answer, usage: Usage) -> Whole_co: ...

    def part(self, answer: _Answer, usage: Usage | UnsetType | None) -> Part_co: ...


class Forwarded(Generic[Whole_co, Part_co]):
    """A completion under way at another server."""

    def __init__(
        self,
        remotes: Remotes,
        row: ModelRow,
        shape: Shape[Whole_co, Part_co],
        request: SamplingFields,
        clock: Clock,
        *,
        via: str,
        budget: Budget | None = None,
    ) -> None:
        """`via`: that header of the client's request."""
        self.id = shape.id
        self.model = row.id
        self._told: Usage | None = None
        self._budget = budget
        self._afforded: dict[str, int] = {}
        self._heard = 0
        self._remotes = remotes
        self._row = row
        self._shape = shape
        self._request = request
        self._clock = clock
        self._via = via
        self._exchange: Exchange | None = None
        self._pending: deque[Part_co] = deque()
        self._ended = False
        self._answered = False
        self._tell_at = 0.0

    @property
    def usage(self) -> Usage | None:
        """What the other server told; an estimate of what has come when it told nothing."""
        if self._told is not None or not self._heard:
            return self._told
        prompt = remote_budget.tokens_of(self._shape.body(""))
        return _counted(_Usage(prompt_tokens=prompt, completion_tokens=remote_budget.in_tokens(self._heard)))

    @property
    def unfinished(self) -> Gathered:
        """Of a whole answer nothing comes before its end."""
        return Gathered()

    def begin(self, timeout: float = PATIENCE_BEFORE_FIRST_BYTE) -> bool:
        """Send the request on, and wait a little for what a status can still tell: that it was refused."""
        streamed = bool(self._request.stream)
        if self._exchange is None:
            self._afforded = remote_budget.afford(self._budget, self._shape.body(""), self._row.context_length or None)
            self._exchange = self._remotes.ask(self._row, self._shape.path, self._body, stream=streamed, via=self._via)
            if streamed:
                self._receive(timeout)
        return True

    def next(self, timeout: float) -> Part_co | Comment | None:
        """As a local completion's."""
        if not self._pending and not self._ended:
            self._receive(timeout)
        if self._pending:
            return self._pending.popleft()
        if self._ended:
            raise StopIteration
        return self._comment()

    def whole(self, disconnected: Callable[[], bool]) -> Whole_co:
        """As a local completion's."""
        exchange = self._begun()
        while (body := exchange.next(_POLL)) is None:
            if disconnected():
                raise ClientGone
        answer = self._decode(body)
        if not answer.choices:
            raise garbled(self.model)
        return self._shape.whole(answer, self._told or _counted(_Usage()))

    def close(self) -> None:
        """Stop wherever it stands: the other server sees a hang-up."""
        if self._exchange is not None:
            self._exchange.close()

    def _begun(self) -> Exchange:
        self.begin()
        assert self._exchange is not None
        return self._exchange

    def _body(self, their_name: str) -> dict[str, Any]:
        body = self._shape.body(their_name) | self._afforded
        if self._request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def _receive(self, timeout: float) -> None:
        try:
            data = self._begun().next(timeout)
        except StopIteration:
            if not self._answered:  # ended as it should, and said nothing
                raise garbled(self.model) from None
            self._ended = True
            if self._request.counts_usage:
                self._pending.append(self._shape.part(_Answer(), self._told))
            return
        if data is not None:
            answer = self._decode(data)
            if answer.choices:
                self._answered = True
                self._pending.append(self._shape.part(answer, None if self._request.counts_usage else UNSET))

    def _decode(self, data: bytes) -> _Answer:
        try:
            answer = msgspec.json.decode(data, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
            raise garbled(self.model) from cause
        if answer.usage is not None:
            self._told = _counted(answer.usage)
        self._heard += sum(_size(choice) for choice in answer.choices)
        return answer

    def _comment(self) -> Comment | None:
        place = None if self._exchange is None else self._exchange.place
        now = self._clock.monotonic()
        if place is None or now < self._tell_at:
            return None
        self._tell_at = now + _SECONDS_BETWEEN_COMMENTS
        return Comment(f"queued position={place[0]} eta={place[1]}")


class _ChatShape:
    path = "/chat/completions"

    def __init__(self, row: ModelRow, request: ChatRequest, created: int) -> None:
        self.id = new_id("resp")
        self._model = row.id
        self._request = request
        self._created = created

    def body(self, their_name: str) -> dict[str, Any]:
        return remote_fields.known(self._request, their_name)

    def whole(self, answer: _Answer, usage: Usage) -> ChatCompletion:
        return ChatCompletion(
            id=self.id,
            created=self._created,
            model=self._model,
            choices=[self._choice(choice) for choice in answer.choices],
            usage=usage,
            system_fingerprint=answer.system_fingerprint or "",
        )

    def _choice(self, choice: _Choice) -> Choice:
        message = choice.message or _Message()
        calls = [
            ToolCall(id=call.id, function=FunctionCall(name=call.function.name, arguments=call.function.arguments))
            for call in message.tool_calls or ()
        ]
        return Choice(
            index=choice.index,
            message=AnswerMessage(
                content=message.content if calls else message.content or "", tool_calls=calls or UNSET
            ),
            logprobs=_logprobs(self._model, choice.logprobs),
            finish_reason=_reason(choice.finish_reason) or "stop",
        )

    def part(self, answer: _Answer, usage: Usage | UnsetType | None) -> Chunk:
        return Chunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._model,
            system_fingerprint=answer.system_fingerprint or "",
            choices=[
                ChunkChoice(
                    index=choice.index,
                    delta=_delta(choice.delta or _Delta()),
                    logprobs=_logprobs(self._model, choice.logprobs),
                    finish_reason=_reason(choice.finish_reason),
                )
                for choice in answer.choices
            ],
            usage=usage,
        )


class _TextShape:
    path = "/completions"

    def __init__(self, row: ModelRow, request: TextRequest, created: int) -> None:
        self.id = new_id("resp")
        self._model = row.id
        self._request = request
        self._created = created

    def body(self, their_name: str) -> dict[str, Any]:
        return remote_fields.known(self._request, their_name)

    def whole(self, answer: _Answer, usage: Usage) -> TextCompletion:
        return self.part(answer, usage)

    def part(self, answer: _Answer, usage: Usage | UnsetType | None) -> TextCompletion:
        return TextCompletion(
            id=self.id,
            object="text_completion",
            created=self._created,
            model=self._model,
            choices=[
                TextChoice(text=choice.text, index=choice.index, finish_reason=_reason(choice.finish_reason))
                for choice in answer.choices
            ],
            system_fingerprint=answer.system_fingerprint or "",
            usage=usage,
        )


def chat(
    remotes: Remotes, row: ModelRow, request: ChatRequest, clock: Clock, *, via: str, budget: Budget | None = None
) -> Forwarded[ChatCompletion, Chunk]:
    """A chat completion. Raises what is wrong with the request itself, as for a local model."""
    require_kind(row, "chat")
    messages.refuse_unsupported(request)
    messages.for_template(request.messages)
    messages.alternatives(request)
    _check_sampling(request)
    if request.truncation == "auto":
        raise messages.unsupported("truncation")  # only the other server can count its tokens
    return Forwarded(remotes, row, _ChatShape(row, request, int(clock.now())), request, clock, via=via, budget=budget)


def text(
    remotes: Remotes, row: ModelRow, request: TextRequest, clock: Clock, *, via: str, budget: Budget | None = None
) -> Forwarded[TextCompletion, TextCompletion]:
    """A text completion, likewise."""
    require_kind(row, "chat")
    refuse_unsupported(request)
    prompts_of(request, row)
    _check_sampling(request)
    if request.logprobs is not None:
        raise messages.unsupported("logprobs")
    return Forwarded(remotes, row, _TextShape(row, request, int(clock.now())), request, clock, via=via, budget=budget)


def _check_sampling(request: SamplingFields) -> None:
    messages.stops(request)
    messages.sampling(request)


def _size(choice: _Choice) -> int:
    """Bytes of what the model said."""
    said = choice.message or choice.delta or _Message()
    calls = msgspec.json.encode(said.tool_calls) if said.tool_calls else b""
    return len((choice.text + (said.content or "")).encode()) + len(calls)


def _delta(delta: _Delta) -> Delta:
    return Delta(
        role="assistant" if delta.role is not None else None, content=delta.content, tool_calls=delta.tool_calls or None
    )


def _reason(reason: str | None) -> FinishReason | None:
    known: dict[str, Literal["stop", "length", "tool_calls"]] = {
        "length": "length",
        "tool_calls": "tool_calls",
        "function_call": "tool_calls",
    }
    return None if reason is None else known.get(reason, "stop")


def _logprobs(model: str, given: Any) -> ChoiceLogprobs | None:
    if given is None:
        return None
    try:
        return msgspec.convert(given, ChoiceLogprobs)
    except msgspec.MsgspecError as cause:
        raise garbled(model) from cause


def _counted(usage: _Usage) -> Usage:
    cached = (usage.prompt_tokens_details or {}).get("cached_tokens")
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=max(0, min(cached, usage.prompt_tokens)) if isinstance(cached, int) else 0
        ),
    )
