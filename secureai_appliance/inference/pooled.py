"""A loaded model that reads whole texts: of each it gives one pooled result, a vector or a score.

One small context with one thread on each core: measured (254-token chunks, 2 cores) it is as fast as two threads on one
context when the machine is idle and a third faster when it is not, because nothing waits at barriers. Attention is
computed over the whole batch, padding included, so batches are small and made of inputs of like length.

A batch takes some tenths of a second. What somebody waits for and is done in some milliseconds, such as the query of a
search, doesn't wait for that: there is a further context for it.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secureai_appliance.core.errors import InternalError, ServiceUnavailable
from secureai_appliance.inference.context import Context, ContextOptions
from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.cores import usable_cores
from secureai_appliance.inference.generation import Priority
from secureai_appliance.inference.gguf import GgufInfo
from secureai_appliance.inference.memory import MemoryNeed, available_memory, predict, require_memory
from secureai_appliance.inference.model import LoadedModel, describe_model
from secureai_appliance.inference.tokens import Vocabulary

_log = logging.getLogger(__name__)

Pooling = Callable[[GgufInfo], int]
"""llama.cpp's pooling type for a file; raises LoadFailure for one that is not of the kind."""

_SEQUENCES = 32
# measured: chunks of 254 tokens are an eighth faster one by one than two at a time
_BATCH_TOKENS = 256
_SHORT = 128
"""Tokens of a call that is done in some milliseconds."""
_FIRST_GUESS = 0.0002  # seconds a token
_SMOOTHING = 0.1
_LOOK_SECONDS = 0.1
# one batch in so many is of the least important call, so that it gets on whatever the others want
_LEAST_TURN = 8


class Abandoned(Exception):
    """Nobody waits for the results any more. `tokens`: so many were computed, or are being."""

    def __init__(self, tokens: int = 0) -> None:
        super().__init__("Nobody waits for the results any more.")
        self.tokens = tokens


@dataclass(frozen=True)
class PooledOptions:
    """`batch`: tokens computed at once, the longest input too. `threads`: contexts at work; None: one on each core.

    `max_waiting`: calls that may be under way.
    """

    batch: int = 512
    threads: int | None = None
    max_waiting: int = 64


class _Call:
    """One call: its batches still to compute, and the results so far."""

    def __init__(self, inputs: Sequence[Sequence[int]], room: int, priority: Priority) -> None:
        self.inputs = inputs
        self.priority = priority
        self.batches = deque(pack([len(tokens) for tokens in inputs], min(room, _BATCH_TOKENS), _SEQUENCES))
        self.left = len(self.batches)
        self.results: list[Any] = [None] * len(inputs)
        self.is_short = priority is Priority.INTERACTIVE and sum(map(len, inputs)) <= _SHORT
        self.error: Exception | None = None

    @property
    def begun_tokens(self) -> int:
        """Tokens that a worker has taken."""
        waiting = sum(len(self.inputs[index]) for batch in self.batches for index in batch)
        return sum(map(len, self.inputs)) - waiting


class PooledModel(ABC):
    """One loaded model. Every method may be called from any thread.

    `max_tokens` is the length of its longest input. What kind of model it is, a subclass says: `_read` makes a result
    of what llama.cpp has pooled.
    """

    _noun = "model"

    def __init__(self, path: Path, options: PooledOptions, pooling: Pooling, cores: CoreBudget | None) -> None:
        """Load the model; blocks until it can answer. `cores` None: it has them all. Raises LoadFailure."""
        self._options = options
        self._cores = cores or CoreBudget(options.threads)
        info = describe_model(path)
        type_ = pooling(info)
        batch, need = sizes(info, options)
        require_memory(need, available_memory())
        short, workers = min(batch, _SHORT), options.threads or usable_cores()
        self._model = LoadedModel(path)
        self._contexts: list[Context] = []
        try:
            self.vocabulary = Vocabulary(self._model)
            for size in [short] + [batch] * workers:
                room = ContextOptions(size, size, _SEQUENCES, 1, type_, flash_attention=True)
                self._contexts.append(Context(self._model, room))
        except Exception:
            self._free()
            raise
        self.max_tokens = batch
        self.fingerprint = f"{self._model.library.build}-{info.fingerprint}"
        self.failed = False
        self._changed = threading.Condition()
        self._calls: deque[_Call] = deque()
        self._under_way = 0
        self._turn = 0
        self._closing = False
        self._token_seconds = _FIRST_GUESS
        works = [self._work_at_once] + [self._work] * workers
        self._threads = [
            threading.Thread(target=work, args=(context,), name=f"{self._noun} {path.stem}", daemon=True)
            for work, context in zip(works, self._contexts, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text with the model's own first and last ones. Texts of control tokens stay text."""
        return self.vocabulary.tokenize(text, add_special=True)

    def _results(self, inputs: Sequence[Sequence[int]], abandoned: Callable[[], bool], priority: Priority) -> list[Any]:
        """What `_read` makes of each list of token ids, in order; blocks until done.

        The inputs have been checked: from 1 to `max_tokens` ids that the model knows. Raises ServiceUnavailable when
        too many calls are under way, Abandoned.
        """
        if not inputs:
            return []
        if max(map(len, inputs)) > self.max_tokens:
            # in a batch it would end the model for everybody
            raise InternalError(f"The {self._noun} was given more than it reads.")
        call = _Call(inputs, self.max_tokens, priority)
        with self._changed:
            if self._closing or self.failed:
                raise ServiceUnavailable("The model is being unloaded; try again.", retry_after=1)
            if self._under_way >= self._options.max_waiting:
                raise ServiceUnavailable(
                    f"The {self._noun} is busy: {self._under_way} requests are under way.",
                    retry_after=self._eta(),
                )
            self._under_way += 1
            self._calls.append(call)
            self._changed.notify_all()
        if priority is not Priority.INDEXING:
            self._cores.hurry(self)
        with self._changed:
            while not self._changed.wait_for(lambda: call.left == 0 or call.error is not None, _LOOK_SECONDS):
                if abandoned():
                    call.error = Abandoned(call.begun_tokens)
            self._under_way -= 1
        if call.error is not None:
            raise call.error
        return call.results

    def close(self, timeout: float = 10) -> bool:
        """End calls under way with ServiceUnavailable and free the model. False when a batch didn't end in time."""
        with self._changed:
            self._closing = True
            self._give_up("The model is being unloaded; try again.")
            self._changed.notify_all()
        self._cores.hurry(self)
        for thread in self._threads:
            thread.join(timeout)
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._free()
        return True

    def _work(self, context: Context) -> None:
        """One worker's life: a batch of each call in turn, so that a long call delays a short one by one batch."""
        while (priority := self._wait_for_work()) is not None:
            with self._cores.core(priority, owner=self):
                # which batch is decided once there is a core for it: something urgent may have come meanwhile
                if (taken := self._take()) is not None:
                    self._work_on(context, *taken)

    def _work_at_once(self, context: Context) -> None:
        """The life of the worker for short calls, one after the other."""
        while self._wait_for_work(short=True) is not None:
            with self._cores.core_at_once():
                if (taken := self._take(short=True)) is not None:
                    self._work_on(context, *taken)

    def _work_on(self, context: Context, call: _Call, batch: list[int]) -> None:
        error: Exception | None = None
        try:
            self._compute(context, call, batch)
        except InternalError as failure:
            error = failure
        except Exception:  # noqa: BLE001 - logged, and every caller is told
            _log.exception("The %s failed", self._noun)
            error = ServiceUnavailable(self._failure, retry_after=1)
            self.failed = True
        with self._changed:
            call.left -= 1
            call.error = call.error or error
            if self.failed:
                self._give_up(self._failure)
            self._changed.notify_all()

    def _wait_for_work(self, *, short: bool = False) -> Priority | None:
        """The priority of what is to be computed next, of all or of `short` calls; None when it is time to go."""
        with self._changed:
            while not (self._closing or self.failed):
                self._calls = deque(call for call in self._calls if call.error is None)
                if calls := [call for call in self._calls if call.is_short or not short]:
                    return min(call.priority for call in calls)
                self._changed.wait()
            return None

    def _take(self, *, short: bool = False) -> tuple[_Call, list[int]] | None:
        """A batch of the most important call, of like ones in turn; None when another worker has taken the last one."""
        with self._changed:
            calls = [call for call in self._calls if call.error is None and (call.is_short or not short)]
            if not calls:
                return None
            self._turn = self._turn if short else (self._turn + 1) % _LEAST_TURN
            choose = min if self._turn or short else max
            call = choose(calls, key=lambda one: one.priority)
            self._calls.remove(call)
            batch = call.batches.popleft()
            if call.batches:
                self._calls.append(call)
            return call, batch

    def _compute(self, context: Context, call: _Call, batch: list[int]) -> None:
        context.batch.reset()
        for sequence, index in enumerate(batch):
            context.batch.add(sequence, call.inputs[index], 0, output=True)
        begun = time.monotonic()
        try:
            code = context.decode()
            self._token_seconds += _SMOOTHING * ((time.monotonic() - begun) / context.batch.size - self._token_seconds)
            if code != 0:
                cause = RuntimeError(f"decode: {code}")
                raise InternalError(f"The {self._noun} could not compute an input.") from cause
            for sequence, index in enumerate(batch):
                call.results[index] = self._read(context, sequence)
        finally:
            # also after a result that is none: what is left over would spoil the next call
            context.clear()

    @abstractmethod
    def _read(self, context: Context, sequence: int) -> Any:
        """The result of one sequence of the last batch: a copy, for the next batch overwrites it."""

    @property
    def _failure(self) -> str:
        return f"The {self._noun} failed; try again."

    def _give_up(self, message: str) -> None:
        for call in self._calls:
            call.error = call.error or ServiceUnavailable(message, retry_after=1)
        self._calls.clear()

    def _eta(self) -> int:
        tokens = sum(len(call.inputs[index]) for call in self._calls for batch in call.batches for index in batch)
        return max(1, round(tokens * self._token_seconds / (len(self._threads) - 1)))

    def _free(self) -> None:
        for context in self._contexts:
            context.close()
        self._model.close()


def pack(lengths: Sequence[int], room: int, most: int) -> list[list[int]]:
    """Indexes of inputs in batches of at most `room` tokens and `most` inputs, those of like length together. One
    that is longer is a batch of its own.
    """
    batches: list[list[int]] = []
    used = room
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if used + lengths[index] > room or len(batches[-1]) >= most:
            batches.append([])
            used = 0
        batches[-1].append(index)
        used += lengths[index]
    return batches


def sizes(info: GgufInfo, options: PooledOptions) -> tuple[int, MemoryNeed]:
    """Tokens of the longest batch, and the memory that the model will take with these options."""
    batch = min(options.batch, info.context_length or options.batch)
    room = batch * (options.threads or usable_cores()) + min(batch, _SHORT)
    # llama.cpp clears room for the logits of every token (53 MB for 512 of MiniLM), and computes them where the model
    # was made to generate
    return batch, predict(info, room, room, room // 2 if info.is_encoder else room)
