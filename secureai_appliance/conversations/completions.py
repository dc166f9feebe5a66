"""One chat completion: from the request to the last token, whichever way it is sent.

The model may still be on its way into memory, the request may wait for a place, the client may hang up: `Completion` is
the one object that goes through all of it, and `close` ends it in every state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import logprobs, messages, outputs, structured, tools, truncation
from secureai_appliance.conversations.answers import (
    AnswerMessage,
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    FinishReason,
    Gathered,
    Truncation,
    Usage,
    usage_of,
)
from secureai_appliance.conversations.logprobs import ChoiceLogprobs, Logprob
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.conversations.outputs import Output
from secureai_appliance.conversations.running import PATIENCE_BEFORE_FIRST_BYTE, Budget, ClientGone, Comment, Run
from secureai_appliance.conversations.tools import ToolUse
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, InternalError, UnprocessableEntity
from secureai_appliance.core.ids import new_id
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import Event, Finished, GenerationRequest, Text
from secureai_appliance.inference.prefixes import common_prefix
from secureai_appliance.inference.tokens import Vocabulary
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import Handle, Models

if TYPE_CHECKING:
    from secureai_appliance.inference.grammar import Grammar

_POLL = 0.05


@dataclass
class _Choice:
    """One of the answers as far as it has come. `reason` is set at its end."""

    index: int
    output: Output
    whole: Gathered = field(default_factory=Gathered)
    untold: list[Logprob] = field(default_factory=list)
    reason: FinishReason | None = None


@dataclass(frozen=True)
class Instructions:
    """What the prompts of all users of an assistant begin with."""

    assistant_id: str
    text: str


class Completion:
    """A chat completion under way."""

    def __init__(
        self,
        handle: Handle,
        row: ModelRow,
        caller: Caller,
        request: ChatRequest,
        clock: Clock,
        *,
        budget: Budget | None = None,
        instructions: Instructions | None = None,
        longest: int | None = None,
    ) -> None:
        self.id = new_id("resp")
        self.created = int(clock.now())
        self.model = row.id
        self._caller = caller
        self._request = request
        self._stops = messages.stops(request)
        self._sampling = messages.sampling(request)
        self._alternatives = messages.alternatives(request)
        self._instructions = instructions
        self._messages = messages.for_template(request.messages)
        self._format = structured.json_format(request)
        self._offer = tools.offer(request)
        self._truncation: Truncation | UnsetType = UNSET
        self._run = Run(handle, clock, self._prepare, budget, longest)
        self._fingerprint = ""
        self._vocabulary: Vocabulary | None = None
        self._choices: list[_Choice] = []
        self._pending: deque[Chunk] = deque()
        self._ended = False

    @property
    def usage(self) -> Usage | None:
        """What was used so far; complete once the answer is."""
        return usage_of(self._run.counts)

    @property
    def unfinished(self) -> Gathered:
        """The first choice as far as `whole` has it."""
        return self._choices[0].whole if self._choices else Gathered()

    def begin(self, timeout: float = PATIENCE_BEFORE_FIRST_BYTE) -> bool:
        """Hand the request to the model, if it is in memory within `timeout` seconds.

        Raises what makes the request impossible (400, 422), or the model unavailable (503): before the first byte,
        while it can still be a status.
        """
        if not self._run.begin(timeout):
            return False
        for choice in self._choices:
            self._pending.append(self._chunk(choice, Delta(role="assistant", content="")))
        self._pending[0].truncation = self._truncation
        return True

    def next(self, timeout: float) -> Chunk | Comment | None:
        """The next thing to send to a streaming client; None when there is nothing yet.

        Raises StopIteration after the last chunk, Failure when the answer can't be finished.
        """
        if self._pending:
            return self._pending.popleft()
        if self._ended:
            raise StopIteration
        if self._run.begun or self.begin(timeout):
            self._stream(self._run.poll(timeout))
        return self._pending.popleft() if self._pending else self._run.comment()

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        """Wait for the whole answer. Raises ClientGone as soon as the client is."""
        while not self._run.ended:
            if disconnected():
                raise ClientGone
            if not self._run.begun:
                self.begin(_POLL)
            elif (polled := self._run.poll(_POLL)) is not None:
                choice, deltas = self._read(*polled)
                for delta in deltas:
                    choice.whole.add(delta)
        usage = self.usage
        if usage is None:
            raise InternalError("The completion has no choices.")
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[self._answer(choice) for choice in self._choices],
            usage=usage,
            system_fingerprint=self._fingerprint,
            truncation=self._truncation,
        )

    def close(self) -> None:
        """Stop wherever it stands and free what it holds. More than once is harmless."""
        self._run.close()

    # --- to the model

    def _prepare(self, engine: Engine) -> Sequence[GenerationRequest]:
        """One request for each choice: they differ in nothing but the seed."""
        request = self._request
        template = engine.template
        if template is None:
            raise UnprocessableEntity(
                f"The model '{self.model}' has no chat template, so that it can't take messages.",
                code="unsupported_model",
                param="model",
            )
        messages.check_bias(self._sampling, engine.vocabulary)
        self._vocabulary = engine.vocabulary
        self._fingerprint = engine.fingerprint
        offered = self._offer.tools if self._offer else ()
        use = tools.ToolUse(self._offer, template, engine.vocabulary) if self._offer else None
        max_tokens = request.max_completion_tokens or request.max_tokens

        def prompt_of(messages: Sequence[dict[str, Any]]) -> list[int]:
            segments = tools.render(template, messages, offered)
            return engine.vocabulary.tokenize_segments([*segments, *(use.opening if use is not None else ())])

        prompt = self._fitted(prompt_of, truncation.room(engine.context_length, max_tokens))
        common = self._common(prompt_of, prompt)
        first = GenerationRequest(
            prompt=prompt,
            max_tokens=max_tokens,
            sampling=self._sampling,
            stop=self._stops,
            fairness_key=self._caller.user_id,
            priority=request.priority,
            grammar=self._grammar(engine.vocabulary, use),
            grammar_after=use.trigger if use is not None else None,
            logprobs=self._alternatives,
            visible=use.visible if use is not None else frozenset(),
            common_key=self._instructions.assistant_id if self._instructions and common else "",
            common=common,
        )
        count = request.n or 1
        self._choices = [_Choice(index, self._output(use)) for index in range(count)]
        return [replace(first, sampling=messages.sampling_of_choice(self._sampling, index)) for index in range(count)]

    def _common(self, prompt_of: truncation.Render, prompt: list[int]) -> int:
        """How many of the first tokens are the assistant's and the template's, whoever asks and whatever they say."""
        if self._instructions is None:
            return 0
        said = {"role": "system", "content": self._instructions.text}
        try:
            # where these two part something of a user's begins
            one, other = (prompt_of([said, {"role": "user", "content": text}]) for text in ("a", "b"))
        except Failure:
            return 0  # a template that can't say it this way: then nothing is shared
        return common_prefix(prompt, one, common_prefix(one, other, len(one)))

    def _fitted(self, prompt_of: truncation.Render, limit: int) -> list[int]:
        if self._request.truncation != "auto":
            return prompt_of(self._messages)
        fitted = truncation.fit(prompt_of, self._messages, limit)
        self._truncation = Truncation(dropped_messages=fitted.dropped, original_prompt_tokens=fitted.whole)
        return fitted.prompt

    def _grammar(self, vocabulary: Vocabulary, use: ToolUse | None) -> Grammar | None:
        if use is not None and use.constrained:
            return structured.compiled(vocabulary, use.grammar, "tools")
        return None if self._format is None else structured.compiled(vocabulary, self._format.grammar)

    def _output(self, use: ToolUse | None) -> Output:
        if use is not None:
            return use.output()
        return outputs.PlainText() if self._format is None else self._format.output()

    # --- from the model

    def _read(self, index: int, event: Event) -> tuple[_Choice, list[Delta]]:
        """What an event adds to its choice. Raises the Failure that ended the answer early."""
        choice = self._choices[index]
        match event:
            case Text(text=text, logprobs=tokens):
                if tokens and self._vocabulary is not None:
                    choice.untold += logprobs.of_tokens(self._vocabulary, tokens)
                deltas = choice.output.feed(text)
                if choice.output.done:
                    self._run.cancel(index)
                return choice, deltas
            case Finished(reason="error", error=error):
                raise error or InternalError("The model failed while it was answering.")
            case Finished(reason=reason):
                if reason == "error":
                    raise InternalError("The model failed while it was answering.")
                deltas, choice.reason = choice.output.finish(reason)
                return choice, deltas
            case _:
                return choice, []

    def _stream(self, polled: tuple[int, Event] | None) -> None:
        if polled is None:
            return
        choice, deltas = self._read(*polled)
        for delta in deltas:
            self._pending.append(self._chunk(choice, delta))
        if choice.reason is not None and isinstance(polled[1], Finished):
            self._pending.append(self._chunk(choice, Delta()))
        if self._run.ended:
            self._ended = True
            if self._request.counts_usage:
                self._pending.append(self._chunk(None, None))

    # --- in OpenAI's shapes

    def _answer(self, choice: _Choice) -> Choice:
        if choice.reason is None:
            raise InternalError("A choice has not ended.")
        whole = choice.whole
        return Choice(
            index=choice.index,
            message=AnswerMessage(content=whole.content, tool_calls=whole.tool_calls or UNSET),
            logprobs=ChoiceLogprobs(content=choice.untold) if self._request.logprobs else None,
            finish_reason=choice.reason,
        )

    def _chunk(self, choice: _Choice | None, delta: Delta | None) -> Chunk:
        """A chunk of one choice, its last one when `delta` is empty; without a choice, the one with the usage."""
        chosen: list[ChunkChoice] = []
        if choice is not None and delta is not None:
            told, choice.untold = choice.untold, []
            chosen = [
                ChunkChoice(
                    index=choice.index,
                    delta=delta,
                    logprobs=ChoiceLogprobs(content=told) if told else None,
                    finish_reason=choice.reason if delta == Delta() else None,
                )
            ]
        usage: Usage | UnsetType | None = UNSET
        if self._request.counts_usage:
            usage = self.usage if choice is None else None
        return Chunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            system_fingerprint=self._fingerprint,
            choices=chosen,
            usage=usage,
        )


def start(
    models: Models,
    row: ModelRow,
    caller: Caller,
    request: ChatRequest,
    clock: Clock,
    *,
    budget: Budget | None = None,
    instructions: Instructions | None = None,
    longest: int | None = None,
) -> Completion:
    """Check the request and have its model loaded. Raises what is wrong with the request itself.

    `instructions`: of the assistant that is asked, the same for all who ask it: computed once. `longest`: tokens of an
    answer where the request says nothing; None: until it or the context ends.
    """
    messages.refuse_unsupported(request)
    handle = models.chat(row)
    return Completion(handle, row, caller, request, clock, budget=budget, instructions=instructions, longest=longest)
