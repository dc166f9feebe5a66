"""A loaded embedding model: texts into vectors of length 1.

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
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secureai_appliance.core.errors import InternalError, ServiceUnavailable, ValidationError
from secureai_appliance.inference.context import Context, ContextOptions
from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.cores import usable_cores
from secureai_appliance.inference.generation import Priority
from secureai_appliance.inference.gguf import GgufInfo
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.memory import available_memory, predict, require_memory
from secureai_appliance.inference.model import LoadedModel, describe_model
from secureai_appliance.inference.tokens import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

_MEAN, _RANK = 1, 4  # llama.cpp's pooling types
_SEQUENCES = 32
# measured: chunks of 254 tokens are an eighth faster one by one than two at a time
_BATCH_TOKENS = 256
_SHORT = 128
"""Tokens of a call that is done in some milliseconds."""
_FIRST_GUESS = 0.0002  # seconds a token
_SMOOTHING = 0.1
_FAILED = "The embedding model failed; try again."
_LOOK_SECONDS = 0.1
# one batch in so many is of the least important call, so that it gets on whatever the others want
_LEAST_TURN = 8


class Abandoned(Exception):
    """Nobody waits for the vectors any more."""


@dataclass(frozen=True)
class EmbedderOptions:
    """`batch`: tokens computed at once, the longest input too. `threads`: contexts at work; None: one on each core.

    `max_waiting`: calls of `embed` that may be under way.
    """

    batch: int = 512
    threads: int | None = None
    max_waiting: int = 64


class _Call:
    """One call of `embed`: its batches still to compute, and the vectors so far."""

    def __init__(self, inputs: Sequence[Sequence[int]], room: int, priority: Priority) -> None:
        self.inputs = inputs
        self.priority = priority
        self.batches = deque(pack([len(tokens) for tokens in inputs], min(room, _BATCH_TOKENS), _SEQUENCES))
        self.left = len(self.batches)
        self.vectors: list[Any] = [None] * len(inputs)
        self.is_short = priority is Priority.INTERACTIVE and sum(map(len, inputs)) <= _SHORT
        self.error: Exception | None = None


class Embedder:
    """One loaded embedding model. Every method may be called from any thread.

    `dimension` is the length of its vectors, `max_tokens` that of its longest input.
    """

    def __init__(self, path: Path, options: EmbedderOptions | None = None, cores: CoreBudget | None = None) -> None:
        """Load the model; blocks until it can answer. `cores` None: it has them all. Raises LoadFailure."""
        self._options = options or EmbedderOptions()
        self._cores = cores or CoreBudget(self._options.threads)
        info = describe_model(path)
        workers = self._options.threads or usable_cores()
        batch = min(self._options.batch, info.context_length or self._options.batch)
        short = min(batch, _SHORT)
        room = batch * workers + short
        require_memory(predict(info, room, room, 1), available_memory())
        self._model = LoadedModel(path)
        self._contexts: list[Context] = []
        try:
            self.vocabulary = Vocabulary(self._model)
            for size in [short] + [batch] * workers:
                sizes = ContextOptions(size, size, _SEQUENCES, 1, _pooling(info), flash_attention=True)
                self._contexts.append(Context(self._model, sizes))
        except Exception:
            self._free()
            raise
        self.dimension = self._model.embedding_length
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
            threading.Thread(target=work, args=(context,), name=f"embedder {path.stem}", daemon=True)
            for work, context in zip(works, self._contexts, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text with the model's own first and last ones. Texts of control tokens stay text."""
        return self.vocabulary.tokenize(text, add_special=True)

    def embed(
        self,
        inputs: Sequence[Sequence[int]],
        abandoned: Callable[[], bool] = lambda: False,
        *,
        priority: Priority = Priority.INTERACTIVE,
    ) -> list[NDArray[np.float32]]:
        """One vector of length 1 (`dimension` floats) for each list of token ids, in order; blocks until done.

        With `Priority.INDEXING` it takes what others leave, beside chat a quarter of a core.
        `abandoned` is asked a few times a second; once it is true, no further batch is computed and Abandoned raised.
        Raises ValidationError for an empty input, one longer than `max_tokens` (`code` "context_length_exceeded")
        or with ids that the model doesn't know, ServiceUnavailable when too many calls are under way.
        """
        for index, tokens in enumerate(inputs):
            self._check(index, tokens)
        if not inputs:
            return []
        call = _Call(inputs, self.max_tokens, priority)
        with self._changed:
            if self._closing or self.failed:
                raise ServiceUnavailable("The model is being unloaded; try again.", retry_after=1)
            if self._under_way >= self._options.max_waiting:
                raise ServiceUnavailable(
                    f"The embedding model is busy: {self._under_way} requests are under way.",
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
                    call.error = Abandoned()
            self._under_way -= 1
        if call.error is not None:
            raise call.error
        return call.vectors

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

    def _check(self, index: int, tokens: Sequence[int]) -> None:
        if not tokens:
            raise ValidationError(f"Input {index} is empty.", field="input", constraint="min_length")
        if len(tokens) > self.max_tokens:
            raise ValidationError(
                f"Input {index} has {len(tokens)} tokens; this model reads {self.max_tokens}.",
                field="input",
                constraint="context_length",
                code="context_length_exceeded",
                details={"prompt_tokens": len(tokens), "context_length": self.max_tokens},
            )
        try:
            self.vocabulary.check(tokens)
        except ValueError as cause:
            raise ValidationError(f"Input {index}: {cause}", field="input", constraint="vocabulary") from cause

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
            _log.exception("The embedder failed")
            error = ServiceUnavailable(_FAILED, retry_after=1)
            self.failed = True
        with self._changed:
            call.left -= 1
            call.error = call.error or error
            if self.failed:
                self._give_up(_FAILED)
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
        code = context.decode()
        self._token_seconds += _SMOOTHING * ((time.monotonic() - begun) / context.batch.size - self._token_seconds)
        if code != 0:
            context.clear()
            raise InternalError("The embedding model could not compute an input.") from RuntimeError(f"decode: {code}")
        for sequence, index in enumerate(batch):
            call.vectors[index] = self._vector(context, sequence)
        context.clear()

    def _vector(self, context: Context, sequence: int) -> NDArray[np.float32]:
        import numpy as np

        pointer = context.embedding(sequence)
        if pointer is None:
            raise InternalError("The embedding model gave no vector.")
        # llama.cpp's memory is overwritten by the next batch: the division makes the copy
        vector = np.ctypeslib.as_array(pointer, (self.dimension,))
        length = float(np.sqrt(np.dot(vector, vector)))
        if not (np.isfinite(length) and length > 0):
            raise InternalError("The embedding model gave a vector without direction.")
        return np.asarray(vector / length, dtype=np.float32)

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


def _pooling(info: GgufInfo) -> int:
    """The file's own pooling; the mean where it names none."""
    pooling = info.pooling or _MEAN
    if pooling >= _RANK:
        raise LoadFailure("The model ranks texts; it makes no embeddings.")
    return pooling
