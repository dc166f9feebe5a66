"""The generations of one request, from a model that may still be on its way into memory to the last token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import InternalError
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import Event, Finished, Generation, GenerationRequest, Queued, Started
from secureai_appliance.inference.tokens import TooManyTokens
from secureai_appliance.models.registry import Handle

# long enough for a small model to be read, short enough for the first byte to come within a second
PATIENCE_BEFORE_FIRST_BYTE = 0.6
# those of one request advance in the same steps: while one is waited for, the others are looked at this often
_SECONDS_AMONG_SEVERAL = 0.02
_SECONDS_BETWEEN_COMMENTS = 5.0
# a cancelled one ends within two steps
_PATIENCE_FOR_THE_END = 2.0
LEAST_ANSWER = 256
"""Tokens that a limit has to leave an answer that asks for no number of them."""


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


@dataclass(frozen=True)
class Comment:
    """Something to tell a waiting client beside the answer (`queued position=3 eta=12`)."""

    text: str


@dataclass(frozen=True)
class Counts:
    """Tokens: of the prompt, read once for all choices; sampled for all choices; of the prompt but not computed."""

    prompt: int
    completion: int
    cached: int


Prepare = Callable[[Engine], Sequence[GenerationRequest]]


class Budget(Protocol):
    """The tokens that a user may still use."""

    def reserve(self, prompt: int, least: int, most: int) -> int:
        """Room for an answer of `least` to `most` tokens to `prompt` tokens. Raises RateLimitExceeded."""
        ...

    @property
    def bounded(self) -> bool:
        """Whether they are limited at all."""
        ...


class Run:
    """One or more generations. `close` ends them in every state."""

    def __init__(
        self, handle: Handle, clock: Clock, prepare: Prepare, budget: Budget | None, longest: int | None = None
    ) -> None:
        """`prepare` makes the requests once the model is there; it raises what makes them impossible.

        `longest`: tokens of an answer that asks for no number of them; None: until it or the context ends.
        """
        self._handle = handle
        self._clock = clock
        self._prepare = prepare
        self._budget = budget
        self._longest = longest
        self._generations: list[Generation] = []
        self._open: list[int] = []
        self._finished: list[Finished] = []
        self._started: set[int] = set()
        self._tell_at = 0.0
        self.begun = False

    @property
    def ended(self) -> bool:
        """Whether every generation has had its last event."""
        return self.begun and not self._open

    @property
    def counts(self) -> Counts | None:
        """What the generations that ended have used; None before the first end."""
        if not self._finished:
            return None
        return Counts(
            prompt=max(finished.usage.prompt_tokens for finished in self._finished),
            completion=sum(finished.usage.completion_tokens for finished in self._finished),
            cached=min(finished.usage.cached_tokens for finished in self._finished),
        )

    def begin(self, timeout: float) -> bool:
        """Hand the requests to the model, if it is in memory within `timeout` seconds.

        Raises what makes them impossible (400, 422), or the model unavailable (503).
        """
        engine = self._handle.wait(timeout)
        if engine is None:
            return False
        if not isinstance(engine, Engine):
            raise InternalError("The model in this place makes no completions.")
        try:
            requests = self._prepare(engine)
        except TooManyTokens as cause:
            raise engine.too_long(cause.count) from cause
        requests = self._afforded(requests, engine.context_length)
        # one that is refused is raised to the caller, who closes those before it
        for request in requests:
            self._generations.append(engine.submit(request))
        self._open = list(range(len(self._generations)))
        self.begun = True
        return True

    def poll(self, timeout: float) -> tuple[int, Event] | None:
        """The next event and the index of its generation; None when there is none within `timeout` seconds."""
        for index in self._open:
            if (event := self._generations[index].next(0)) is not None:
                return self._take(index, event)
        patience = timeout if len(self._open) == 1 else min(timeout, _SECONDS_AMONG_SEVERAL)
        index = self._open[0]
        event = self._generations[index].next(patience)
        return None if event is None else self._take(index, event)

    def cancel(self, index: int) -> None:
        """End one generation; its last event comes as ever."""
        self._generations[index].cancel()

    def comment(self) -> Comment | None:
        """What to tell who waits: at once, and then every few seconds; None while there is nothing to tell."""
        if not self.begun:
            return self._tell("loading model")
        waiting = self._waiting()
        if waiting is None:
            return None
        return self._tell(f"queued position={waiting.position} eta={max(1, math.ceil(waiting.eta_seconds))}")

    def close(self) -> None:
        """Stop wherever it stands, and learn what was used until then. More than once is harmless."""
        for generation in self._generations:
            generation.cancel()
        deadline = self._clock.monotonic() + _PATIENCE_FOR_THE_END
        while self._open and (left := deadline - self._clock.monotonic()) > 0:
            # those of one request are cancelled in the same step
            index = self._open[0]
            event = self._generations[index].next(left)
            if event is None:
                return
            self._take(index, event)

    def _afforded(self, requests: Sequence[GenerationRequest], context: int) -> Sequence[GenerationRequest]:
        """The requests, with answers no longer than the budget allows. Raises RateLimitExceeded."""
        bounds = [request.max_tokens or self._longest or context for request in requests]
        rooms = [min(bound, context - len(request.prompt)) for bound, request in zip(bounds, requests, strict=True)]
        if self._budget is None or min(rooms) < 0:  # without room the engine refuses it
            return [replace(request, max_tokens=bound) for bound, request in zip(bounds, requests, strict=True)]
        # choices of one prompt share it
        prompt = sum({id(request.prompt): len(request.prompt) for request in requests}.values())
        least = sum(
            min(room, LEAST_ANSWER) if request.max_tokens is None else room
            for request, room in zip(requests, rooms, strict=True)
        )
        granted = self._budget.reserve(prompt, least, sum(rooms))
        # as much as there is room for; cut, where the budget has less, in equal parts
        share = granted if granted >= sum(rooms) else max(1, granted // len(requests))
        return [replace(request, max_tokens=min(room, share)) for request, room in zip(requests, rooms, strict=True)]

    def _take(self, index: int, event: Event) -> tuple[int, Event]:
        if isinstance(event, Started):
            self._started.add(index)
        if isinstance(event, Finished):
            self._open.remove(index)
            if index in self._started:
                self._finished.append(event)
        return index, event

    def _waiting(self) -> Queued | None:
        places = [self._generations[index].waiting for index in self._open]
        return places[0] if places else None

    def _tell(self, text: str) -> Comment | None:
        now = self._clock.monotonic()
        if now < self._tell_at:
            return None
        self._tell_at = now + _SECONDS_BETWEEN_COMMENTS
        return Comment(text)
