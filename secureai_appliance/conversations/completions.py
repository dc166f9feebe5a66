"""One chat completion: from the request to the last token, whichever way it is sent.

The model may still be on its way into memory, the request may wait for a place, the client may hang up: `Completion` is
the one object that goes through all of it, and `close` ends it in every state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import messages
from secureai_appliance.conversations.answers import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    FinishReason,
    PromptTokensDetails,
    Usage,
)
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import InternalError, UnprocessableEntity
from secureai_appliance.core.ids import new_id
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import Finished, Generation, GenerationRequest, Text
from secureai_appliance.inference.tokens import TooManyTokens
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import Handle, Models

# long enough for a small model to be read, short enough for the first byte to come within a second
_PATIENCE_BEFORE_FIRST_BYTE = 0.6
_POLL = 0.05
_SECONDS_BETWEEN_COMMENTS = 5.0


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


@dataclass(frozen=True)
class Comment:
    """Something to tell a waiting client beside the answer (`queued position=3 eta=12`)."""

    text: str


class Completion:
    """A chat completion under way."""

    def __init__(self, handle: Handle, row: ModelRow, caller: Caller, request: ChatRequest, clock: Clock) -> None:
        self.id = new_id("resp")
        self.created = int(clock.now())
        self.usage: Usage | None = None
        """What was used so far; complete once the answer is."""
        self.model = row.id
        self._handle = handle
        self._caller = caller
        self._request = request
        self._stops = messages.stops(request)
        self._messages = messages.for_template(request.messages)
        self._generation: Generation | None = None
        self._fingerprint = ""
        self._clock = clock
        self._tell_at = 0.0
        self._pending: deque[Chunk] = deque()
        self._ended = False

    def begin(self, timeout: float = _PATIENCE_BEFORE_FIRST_BYTE) -> bool:
        """Hand the request to the model, if it is in memory within `timeout` seconds.

        Raises what makes the request impossible (400, 422), or the model unavailable (503): before the first byte,
        while it can still be a status.
        """
        engine = self._handle.wait(timeout)
        if engine is None:
            return False
        if not isinstance(engine, Engine):
            raise InternalError("The model in this place makes no completions.")
        request = self._request
        if engine.template is None:
            raise UnprocessableEntity(
                f"The model '{self.model}' has no chat template, so that it can't take messages.",
                code="unsupported_model",
                param="model",
            )
        try:
            prompt = engine.vocabulary.tokenize_segments(engine.template.render(self._messages))
        except TooManyTokens as cause:
            raise engine.too_long(cause.count) from cause
        self._fingerprint = engine.fingerprint
        self._generation = engine.submit(
            GenerationRequest(
                prompt=prompt,
                max_tokens=request.max_completion_tokens or request.max_tokens,
                sampling=messages.sampling(request),
                stop=self._stops,
                fairness_key=self._caller.user_id,
            )
        )
        self._pending.append(self._chunk(Delta(role="assistant", content="")))
        return True

    def next(self, timeout: float) -> Chunk | Comment | None:
        """The next thing to send to a streaming client; None when there is nothing yet.

        Raises StopIteration after the last chunk, Failure when the answer can't be finished.
        """
        if self._pending:
            return self._pending.popleft()
        if self._ended:
            raise StopIteration
        if self._generation is None and not self.begin(timeout):
            return self._tell("loading model")
        match self._events().next(timeout):
            case Text(text=text):
                self._pending.append(self._chunk(Delta(content=text)))
            case Finished() as finished:
                self._end(finished)
            case _:
                pass
        return self._pending.popleft() if self._pending else self._how_it_waits()

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        """Wait for the whole answer. Raises ClientGone as soon as the client is."""
        text: list[str] = []
        while True:
            if disconnected():
                raise ClientGone
            if self._generation is None:
                self.begin(_POLL)
                continue
            event = self._generation.next(_POLL)
            if isinstance(event, Text):
                text.append(event.text)
            elif isinstance(event, Finished):
                return self._answer("".join(text), event)

    def close(self) -> None:
        """Stop wherever it stands and free what it holds. More than once is harmless."""
        if self._generation is not None:
            self._generation.cancel()

    def _how_it_waits(self) -> Comment | None:
        waiting = self._events().waiting
        if waiting is None:
            return None
        return self._tell(f"queued position={waiting.position} eta={round(waiting.eta_seconds)}")

    def _tell(self, text: str) -> Comment | None:
        """A comment, at once and then every few seconds."""
        now = self._clock.monotonic()
        if now < self._tell_at:
            return None
        self._tell_at = now + _SECONDS_BETWEEN_COMMENTS
        return Comment(text)

    def _events(self) -> Generation:
        if self._generation is None:
            raise InternalError("The completion was not begun.")
        return self._generation

    def _end(self, finished: Finished) -> None:
        reason, usage = self._finish(finished)
        self._pending.append(self._chunk(Delta(), reason))
        if self._counts:
            self._pending.append(self._chunk(None, None, usage))
        self._ended = True

    @property
    def _counts(self) -> bool:
        options = self._request.stream_options
        return options is not None and options.include_usage

    def _finish(self, finished: Finished) -> tuple[FinishReason, Usage]:
        """Keep what was used, whatever the outcome. Raises the Failure that ended the answer early."""
        used = finished.usage
        self.usage = Usage(
            prompt_tokens=used.prompt_tokens,
            completion_tokens=used.completion_tokens,
            total_tokens=used.prompt_tokens + used.completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=used.cached_tokens),
        )
        if finished.reason == "error":
            raise finished.error or InternalError("The model failed while it was answering.")
        return finished.reason, self.usage

    def _answer(self, text: str, finished: Finished) -> ChatCompletion:
        reason, usage = self._finish(finished)
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[Choice(index=0, message=AnswerMessage(content=text), finish_reason=reason)],
            usage=usage,
            system_fingerprint=self._fingerprint,
        )

    def _chunk(self, delta: Delta | None, reason: FinishReason | None = None, usage: Usage | None = None) -> Chunk:
        return Chunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            system_fingerprint=self._fingerprint,
            choices=[] if delta is None else [ChunkChoice(index=0, delta=delta, finish_reason=reason)],
            usage=usage if self._counts else UNSET,
        )


def start(models: Models, row: ModelRow, caller: Caller, request: ChatRequest, clock: Clock) -> Completion:
    """Check the request and have its model loaded. Raises what is wrong with the request itself."""
    messages.refuse_unsupported(request)
    return Completion(models.chat(row), row, caller, request, clock)
