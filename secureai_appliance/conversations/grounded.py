"""A completion that answers from documents: as the one inside, with references checked and citations at its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import UNSET

from secureai_appliance.conversations.answers import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    Citation,
    Delta,
    Gathered,
    PromptTokensDetails,
    Usage,
)
from secureai_appliance.conversations.citing import Citing
from secureai_appliance.conversations.grounding import Ground
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.conversations.running import Comment
from secureai_appliance.conversations.turns import Completing
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.ids import new_id


class Grounded:
    """An answer from sources; to whoever sends it, a completion like any other."""

    def __init__(self, completion: Completing, ground: Ground, request: ChatRequest) -> None:
        self.id = completion.id
        self.model = completion.model
        self._completion = completion
        self._ground = ground
        # brackets of JSON are no references
        self._checks = request.response_format is None or request.response_format.type == "text"
        self._choices = request.n or 1
        self._citing: dict[int, Citing] = {}
        self._ended = 0

    @property
    def usage(self) -> Usage | None:
        """As the completion's."""
        return self._completion.usage

    @property
    def unfinished(self) -> Gathered:
        """As the completion's, checked."""
        made, kept = self._completion.unfinished, Gathered()
        kept.add(Delta(content=self._checked(0, made.text)))
        kept.tool_calls += made.tool_calls
        return kept

    def citations(self) -> list[Citation]:
        """All sources, and whether the answer has referred to them so far."""
        return self._ground.citations({number for citing in self._citing.values() for number in citing.cited})

    def begin(self) -> bool:
        """As the completion's."""
        return self._completion.begin()

    def next(self, timeout: float) -> Chunk | Comment | None:
        """As the completion's. The beginning of a reference waits for its end."""
        item = self._completion.next(timeout)
        return self._taken(item) if isinstance(item, Chunk) else item

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        """As the completion's."""
        answer = self._completion.whole(disconnected)
        for choice in answer.choices:
            if choice.message.content:
                choice.message.content = self._checked(choice.index, choice.message.content)
        answer.citations, answer.retrieval = self.citations(), self._ground.retrieved or UNSET
        return answer

    def close(self) -> None:
        """As the completion's."""
        self._completion.close()

    def _checked(self, index: int, text: str) -> str:
        if not self._checks:
            return text
        citing = self._citing[index] = Citing(self._ground.sources)
        return citing.feed(text) + citing.finish()

    def _taken(self, chunk: Chunk) -> Chunk | None:
        """The chunk as it is sent; None when everything in it waits."""
        for choice in chunk.choices:
            citing = self._citing.setdefault(choice.index, Citing(self._ground.sources))
            if self._checks and choice.delta.content:
                choice.delta.content = citing.feed(choice.delta.content)
            if choice.finish_reason is None:
                continue
            self._ended += 1
            if rest := citing.finish():
                choice.delta.content = (choice.delta.content or "") + rest
            if self._ended == self._choices:
                chunk.citations, chunk.retrieval = self.citations(), self._ground.retrieved or UNSET
        told = not chunk.choices or any(map(_says, chunk.choices)) or chunk.tool_runs is not UNSET
        return chunk if told else None


class NotFoundAnswer:
    """The answer of a question to which the documents say nothing: fixed words, and no model is asked."""

    def __init__(self, model: str, request: ChatRequest, text: str, clock: Clock) -> None:
        self.id = new_id("resp")
        self.model = model
        self.created = int(clock.now())
        self.unfinished = Gathered()
        plain = request.response_format is None or request.response_format.type == "text"
        self._content = text if plain else None
        self._refusal = None if plain else text
        self._request = request
        self._pending: deque[Chunk] = deque()

    @property
    def usage(self) -> Usage:
        """Nothing was computed."""
        none = PromptTokensDetails(cached_tokens=0)
        return Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0, prompt_tokens_details=none)

    def begin(self) -> bool:
        """There is nothing to wait for."""
        for index in range(self._request.n or 1):
            said = Delta(role="assistant", content=self._content, refusal=self._refusal)
            self._pending.append(self._chunk(ChunkChoice(index=index, delta=said)))
            self._pending.append(self._chunk(ChunkChoice(index=index, delta=Delta(), finish_reason="stop")))
        if self._request.counts_usage:
            self._pending.append(self._chunk())
            self._pending[-1].usage = self.usage
        return True

    def next(self, timeout: float) -> Chunk | Comment | None:
        """As a completion's."""
        if not self._pending:
            raise StopIteration
        return self._pending.popleft()

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        """As a completion's."""
        message = AnswerMessage(content=self._content, refusal=self._refusal)
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[
                Choice(index=index, message=msgspec.structs.replace(message), finish_reason="stop")
                for index in range(self._request.n or 1)
            ],
            usage=self.usage,
            system_fingerprint="",
        )

    def close(self) -> None:
        """Nothing is held."""

    def _chunk(self, *choices: ChunkChoice) -> Chunk:
        return Chunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            system_fingerprint="",
            choices=list(choices),
            usage=None if self._request.counts_usage else UNSET,
        )


def _says(choice: ChunkChoice) -> bool:
    delta = choice.delta
    return bool(
        delta.content
        or delta.refusal
        or delta.role
        or delta.tool_calls
        or choice.finish_reason is not None
        or choice.logprobs is not None
    )
