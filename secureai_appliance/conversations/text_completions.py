"""`POST /completions`: a text continued, as OpenAI's older API has it. No template, no messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import messages
from secureai_appliance.conversations.answers import FinishReason, PromptTokensDetails, Usage
from secureai_appliance.conversations.messages import SamplingFields
from secureai_appliance.conversations.running import PATIENCE_BEFORE_FIRST_BYTE, Budget, ClientGone, Comment, Run
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import InternalError, UnprocessableEntity, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import Event, Finished, GenerationRequest, Text
from secureai_appliance.inference.sampling import TokenLogprob
from secureai_appliance.inference.template import Segment
from secureai_appliance.inference.tokens import Vocabulary
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import Handle, Models

DEFAULT_MAX_TOKENS = 16
MAX_CHOICES = 32
_POLL = 0.05

Prompt = str | list[int]


class TextRequest(SamplingFields, kw_only=True):
    """`prompt`: a text, several, or tokens of the model. `logprobs`: how many likely tokens to tell beside each."""

    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None


class TextLogprobs(msgspec.Struct, kw_only=True):
    """Lists side by side, an entry for each token; `text_offset` in characters of the choice's text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(msgspec.Struct, kw_only=True):
    """One of the answers; in a stream, more of it. `index` counts through the prompts, `n` for each."""

    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextCompletion(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The whole answer, or an event of a streamed one. `created` in Unix seconds."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET


@dataclass
class _Choice:
    index: int
    text: list[str] = field(default_factory=list)
    length: int = 0
    tokens: list[TokenLogprob] = field(default_factory=list)
    reason: FinishReason | None = None


class Continuation:
    """A text completion under way. As with chat, `close` ends it in every state."""

    def __init__(
        self,
        handle: Handle,
        row: ModelRow,
        caller: Caller,
        request: TextRequest,
        clock: Clock,
        *,
        budget: Budget | None = None,
    ) -> None:
        self.id = new_id("resp")
        self.created = int(clock.now())
        self.model = row.id
        self._caller = caller
        self._request = request
        self._prompts = prompts_of(request, row)
        self._stops = messages.stops(request)
        self._sampling = messages.sampling(request)
        self._run = Run(handle, clock, self._prepare, budget)
        self._fingerprint = ""
        self._vocabulary: Vocabulary | None = None
        self._prompt_tokens = 0
        self._choices: list[_Choice] = []
        self._pending: deque[TextCompletion] = deque()
        self._ended = False

    @property
    def usage(self) -> Usage | None:
        """What was used so far, each prompt counted once; complete once the answer is."""
        counts = self._run.counts
        if counts is None:
            return None
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=counts.completion,
            total_tokens=self._prompt_tokens + counts.completion,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=counts.cached),
        )

    def begin(self, timeout: float = PATIENCE_BEFORE_FIRST_BYTE) -> bool:
        """Hand the request to the model, if it is in memory in time. Raises what makes it impossible."""
        if not self._run.begin(timeout):
            return False
        for choice in self._choices:
            if text := "".join(choice.text):
                self._pending.append(self._part(TextChoice(text=text, index=choice.index)))
        return True

    def next(self, timeout: float) -> TextCompletion | Comment | None:
        """The next thing to send to a streaming client; None when there is nothing yet.

        Raises StopIteration after the last one, Failure when the answer can't be finished.
        """
        if self._pending:
            return self._pending.popleft()
        if self._ended:
            raise StopIteration
        if (self._run.begun or self.begin(timeout)) and not self._pending:
            polled = self._run.poll(timeout)
            if polled is not None:
                self._stream(*polled)
        return self._pending.popleft() if self._pending else self._run.comment()

    def whole(self, disconnected: Callable[[], bool]) -> TextCompletion:
        """Wait for the whole answer. Raises ClientGone as soon as the client is."""
        while not self._run.ended:
            if disconnected():
                raise ClientGone
            if not self._run.begun:
                self.begin(_POLL)
            elif (polled := self._run.poll(_POLL)) is not None:
                self._read(*polled)
        choices = [
            TextChoice(
                text="".join(choice.text),
                index=choice.index,
                logprobs=self._logprobs(choice.tokens, 0),
                finish_reason=choice.reason,
            )
            for choice in self._choices
        ]
        return self._part(*choices, usage=self.usage)

    def close(self) -> None:
        """Stop wherever it stands. More than once is harmless."""
        self._run.close()

    def _prepare(self, engine: Engine) -> Sequence[GenerationRequest]:
        vocabulary = engine.vocabulary
        messages.check_bias(self._sampling, vocabulary)
        self._vocabulary = vocabulary
        self._fingerprint = engine.fingerprint
        requests: list[GenerationRequest] = []
        for prompt in self._prompts:
            tokens = _tokens(vocabulary, prompt)
            self._prompt_tokens += len(tokens)
            shown = prompt if isinstance(prompt, str) else vocabulary.text(prompt)
            first = GenerationRequest(
                prompt=tokens,
                max_tokens=self._request.max_tokens or DEFAULT_MAX_TOKENS,
                stop=self._stops,
                fairness_key=self._caller.user_id,
                priority=self._request.priority,
                logprobs=self._request.logprobs,
            )
            for index in range(self._request.n or 1):
                self._choices.append(_Choice(len(self._choices), [shown] if self._request.echo else []))
                requests.append(replace(first, sampling=messages.sampling_of_choice(self._sampling, index)))
        return requests

    def _read(self, index: int, event: Event) -> tuple[_Choice, TextChoice]:
        """What an event adds to its choice. Raises the Failure that ended the answer early."""
        choice = self._choices[index]
        added = TextChoice(text="", index=index)
        match event:
            case Text(text=text, logprobs=tokens):
                choice.text.append(text)
                choice.tokens += tokens
                added.text, added.logprobs = text, self._logprobs(tokens, choice.length)
                choice.length += len(text)
            case Finished(reason=reason, error=error):
                if reason == "error":
                    raise error or InternalError("The model failed while it was answering.")
                choice.reason = added.finish_reason = reason
            case _:
                pass
        return choice, added

    def _stream(self, index: int, event: Event) -> None:
        _, added = self._read(index, event)
        if isinstance(event, Text | Finished):
            self._pending.append(self._part(added))
        if self._run.ended:
            self._ended = True
            if self._request.counts_usage:
                self._pending.append(self._part(usage=self.usage))

    def _logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> TextLogprobs | None:
        if self._request.logprobs is None or self._vocabulary is None:
            return None
        told = TextLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for entry in tokens:
            text = self._piece(entry.token)
            told.tokens.append(text)
            told.token_logprobs.append(entry.logprob)
            told.top_logprobs.append({self._piece(token): value for token, value in entry.top})
            told.text_offset.append(offset)
            offset += len(text)
        return told

    def _piece(self, token: int) -> str:
        assert self._vocabulary is not None
        return self._vocabulary.piece_or_name(token).decode("utf-8", "replace")

    def _part(self, *choices: TextChoice, usage: Usage | None = None) -> TextCompletion:
        shown: Usage | UnsetType | None = usage
        if usage is None and not self._request.counts_usage:
            shown = UNSET
        return TextCompletion(
            id=self.id,
            object="text_completion",
            created=self.created,
            model=self.model,
            choices=list(choices),
            system_fingerprint=self._fingerprint,
            usage=shown,
        )


def start(
    models: Models, row: ModelRow, caller: Caller, request: TextRequest, clock: Clock, *, budget: Budget | None = None
) -> Continuation:
    """Check the request and have its model loaded. Raises what is wrong with the request itself."""
    refuse_unsupported(request)
    return Continuation(models.chat(row), row, caller, request, clock, budget=budget)


def refuse_unsupported(request: TextRequest) -> None:
    """Raise UnprocessableEntity for a parameter that can't be honoured."""
    unsupported = {
        "suffix": bool(request.suffix),
        "best_of": request.best_of not in (None, request.n or 1),
        "echo": bool(request.echo) and request.logprobs is not None,
    }
    for name, asked in unsupported.items():
        if asked:
            raise messages.unsupported(name)


def prompts_of(request: TextRequest, row: ModelRow) -> list[Prompt]:
    """The prompts, one by one. Raises ValidationError, UnprocessableEntity for tokens under an alias."""
    given = request.prompt
    prompts: list[Prompt] = []
    if isinstance(given, str):
        prompts = [given]
    elif given and all(isinstance(item, int) for item in given):
        prompts = [[item for item in given if isinstance(item, int)]]
    else:
        for index, item in enumerate(given):
            if isinstance(item, int):
                raise ValidationError(
                    "The 'prompt' field mixes texts and tokens.", field=f"prompt.{index}", constraint="type"
                )
            prompts.append(item)
    if not 1 <= len(prompts) * (request.n or 1) <= MAX_CHOICES:
        raise ValidationError(
            f"There must be 1 to {MAX_CHOICES} choices: prompts times 'n'.", field="prompt", constraint="length"
        )
    if request.model != row.id and not all(isinstance(prompt, str) for prompt in prompts):
        # the client made them with the tokenizer of the model that the alias imitates: they mean other words here
        raise UnprocessableEntity(
            f"Token ids are taken only under the model's own name '{row.id}'.", field="prompt", constraint="type"
        )
    return prompts


def _tokens(vocabulary: Vocabulary, prompt: Prompt) -> list[int]:
    """Text never gives control tokens: who means them sends tokens."""
    given = isinstance(prompt, list)
    tokens = prompt if isinstance(prompt, list) else vocabulary.tokenize_segments([Segment(prompt, trusted=False)])
    if not tokens:
        raise ValidationError("The 'prompt' field must not be empty.", field="prompt", constraint="min_length")
    if given and not 0 <= min(tokens) <= max(tokens) < vocabulary.size:
        raise ValidationError(
            f"Token ids must be from 0 to {vocabulary.size - 1}.", field="prompt", constraint="maximum"
        )
    return tokens
