"""What a caller asks of an engine, and what it hears back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from secureai_appliance.core.errors import Failure
from secureai_appliance.inference.sampling import Sampling, TokenLogprob

if TYPE_CHECKING:
    from secureai_appliance.inference.grammar import Grammar

FinishReason = Literal["stop", "length", "cancelled", "error"]


class Priority(IntEnum):
    """Who goes first when not all can run: the lowest figure."""

    INTERACTIVE = 0
    BATCH = 1
    INDEXING = 2


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt in tokens, and how to go on from it.

    `max_tokens` None: until the answer or the context ends. `stop` texts end the answer and are not part of it.
    `fairness_key` names, to the engine meaninglessly, on whose account this runs; with a `weight` (above 0) of 2 it
    gets twice the tokens of one with 1 when both want more than there is. `reuse_key`: cells are shared with prompts of
    the same key and no others; None: the fairness key; empty: with nobody. The first `common` tokens, in which nothing
    of whoever asks may stand, are shared under `common_key` as well. The answer keeps to `grammar`, from the
    start or, with `grammar_after`, once that text has come. `logprobs` None: none, else with that many alternatives.
    Control tokens in `visible` are shown as text.
    """

    prompt: Sequence[int]
    max_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    fairness_key: str = ""
    grammar: Grammar | None = None
    grammar_after: str | None = None
    logprobs: int | None = None
    visible: frozenset[int] = frozenset()
    priority: Priority = Priority.INTERACTIVE
    weight: float = 1.0
    reuse_key: str | None = None
    common_key: str = ""
    common: int = 0


@dataclass(frozen=True)
class Usage:
    """Tokens: of the prompt; sampled (the one that ended the answer included); of the prompt but not computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Queued:
    """Waiting for room; `position` 1 is next. `eta_seconds` is an estimate of when it starts."""

    position: int
    eta_seconds: float


@dataclass(frozen=True)
class Started:
    """Admitted: its prompt is being read."""

    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Text:
    """More of the answer: whole characters, from `tokens` sampled tokens; one of `logprobs` for each, if asked for."""

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The last event. `error` is set when `reason` is "error"."""

    reason: FinishReason
    usage: Usage
    error: Failure | None = None


Event = Queued | Started | Text | Finished


class Generation:
    """One running request, as its caller sees it. `next` from one thread; `cancel` from any."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._wake = wake
        self._cancelled = threading.Event()
        self.waiting: Queued | None = None

    def next(self, timeout: float) -> Event | None:
        """The next event, or None when there is none within `timeout` seconds (`waiting` then says how it stands)."""
        try:
            return self._events.get(timeout=timeout)
        except queue.Empty:
            return None

    def cancel(self) -> None:
        """End it, in whatever state it is; the slot is free within two steps. Harmless when it has ended."""
        self._cancelled.set()
        self._wake()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def publish(self, event: Event) -> None:
        """For the engine."""
        self._events.put(event)
