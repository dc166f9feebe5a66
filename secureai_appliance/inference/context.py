"""A llama.cpp context and its batch. Both belong to one thread: a second one at the same time crashes or corrupts.

Every precondition of a C call is checked before it. llama.cpp answers a broken one with an assertion that ends the
process, so a failed check here raises ValueError instead, which is a defect of the caller.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.model import LoadedModel

MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ


@dataclass(frozen=True)
class ContextOptions:
    """Sizes of a context: `tokens` of KV for all sequences together, `batch` tokens in one step, `sequences` at once.

    `pooling` is None for a context that generates, else llama.cpp's pooling type for one that embeds.
    """

    tokens: int
    batch: int
    sequences: int
    threads: int
    pooling: int | None = None
    flash_attention: bool | None = None


class Context:
    """The working memory of one model: KV cells and the buffers of a step."""

    def __init__(self, model: LoadedModel, options: ContextOptions) -> None:
        """Raises LoadFailure when there is not enough memory or the model can't be used so."""
        if not 1 <= options.sequences <= MAX_SEQUENCES:
            raise LoadFailure(f"A context holds from 1 to {MAX_SEQUENCES} sequences.")
        self.options = options
        self.batch = Batch(model, options)
        self._api: Any = model.library.api
        self.pointer: Any = self._api.llama_init_from_model(model.pointer, self._parameters(options))
        if not self.pointer:
            raise LoadFailure(f"There is not enough memory for a context of {options.tokens} tokens.")
        self._memory: Any = self._api.llama_get_memory(self.pointer)
        self._threads = options.threads

    def _parameters(self, options: ContextOptions) -> Any:
        parameters = self._api.llama_context_default_params()
        parameters.n_ctx = options.tokens
        # one ubatch a step: a step is the unit in which others wait, and embeddings must not be cut
        parameters.n_batch = parameters.n_ubatch = options.batch
        parameters.n_seq_max = options.sequences
        parameters.kv_unified = True
        parameters.n_threads = parameters.n_threads_batch = options.threads
        if options.flash_attention is not None:
            parameters.flash_attn_type = int(options.flash_attention)
        if options.pooling is None:
            # without this the step's buffer holds the logits of every token: 50 MB and more
            parameters.n_outputs_max = options.sequences
        else:
            parameters.embeddings = True
            parameters.pooling_type = options.pooling
        return parameters

    def set_threads(self, threads: int) -> None:
        """Between two steps."""
        if threads != self._threads:
            self._api.llama_set_n_threads(self.pointer, threads, threads)
            self._threads = threads

    def decode(self) -> int:
        """Compute the batch. 0 is success; anything else leaves the KV in doubt: `clear` it."""
        if self.batch.size == 0:
            raise ValueError("An empty batch.")
        return int(self._api.llama_decode(self.pointer, self.batch.native()))

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target`, which has none, share the first `length` cells of `source`."""
        self._check_sequence(source)
        self._check_sequence(target)
        self._api.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Keep the first `length` cells of a sequence."""
        self._check_sequence(sequence)
        self._api.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def remove(self, sequence: int) -> None:
        """Free the cells of one sequence, those aside that others share."""
        self._check_sequence(sequence)
        self._api.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def clear(self) -> None:
        """Free all cells; the next token goes to the first one again, which makes a run repeatable."""
        if self._memory:  # encoders have none
            self._api.llama_memory_clear(self._memory, False)

    def embedding(self, sequence: int) -> Any:
        """Pointer to the pooled vector of one sequence of the last batch (floats); None when there is none."""
        return self._api.llama_get_embeddings_seq(self.pointer, sequence) or None

    def _check_sequence(self, sequence: int) -> None:
        if not 0 <= sequence < self.options.sequences:
            raise ValueError(f"No sequence {sequence}.")

    def close(self) -> None:
        if self.pointer:
            self._api.llama_free(self.pointer)
            self.pointer = None


class Batch:
    """The tokens of one step. `add` per sequence, then `Context.decode`, then `reset`."""

    def __init__(self, model: LoadedModel, options: ContextOptions) -> None:
        api = model.library.api
        room = options.batch
        self._limits = options
        self._vocabulary_size = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model.pointer)))
        self._outputs = 0
        self.size = 0
        self._tokens = (ctypes.c_int32 * room)()
        self._positions = (ctypes.c_int32 * room)()
        self._counts = (ctypes.c_int32 * room)(*([1] * room))
        self._wanted = (ctypes.c_int8 * room)()
        pointer = ctypes.POINTER(ctypes.c_int32)
        self._owners = (pointer * room)()
        self._ids = [(ctypes.c_int32 * 1)(sequence) for sequence in range(options.sequences)]
        self._id_pointers = [ctypes.cast(identifier, pointer) for identifier in self._ids]
        self._native = api.llama_batch(
            0,
            ctypes.cast(self._tokens, pointer),
            None,
            ctypes.cast(self._positions, pointer),
            ctypes.cast(self._counts, pointer),
            ctypes.cast(self._owners, ctypes.POINTER(pointer)),
            ctypes.cast(self._wanted, ctypes.POINTER(ctypes.c_int8)),
        )

    def add(self, sequence: int, tokens: Sequence[int], position: int, *, output: bool) -> int:
        """Append `tokens` of a sequence from `position` on. With `output`, the last one gets logits; returns its index.

        In a context that embeds, every token is an output, because all are pooled.

        Raises ValueError when it would break a precondition of llama.cpp.
        """
        start, end = self.size, self.size + len(tokens)
        self._check(sequence, tokens, position, end, output)
        self._tokens[start:end] = list(tokens)
        self._positions[start:end] = list(range(position, position + len(tokens)))
        self._owners[start:end] = [self._id_pointers[sequence]] * len(tokens)
        self._wanted[start:end] = [int(self._limits.pooling is not None)] * len(tokens)
        self._wanted[end - 1] |= int(output)
        self.size = end
        self._outputs += output
        return end - 1

    def native(self) -> Any:
        self._native.n_tokens = self.size
        return self._native

    def reset(self) -> None:
        self.size = 0
        self._outputs = 0

    def _check(self, sequence: int, tokens: Sequence[int], position: int, end: int, output: bool) -> None:
        limits = self._limits
        if not 0 <= sequence < limits.sequences:
            raise ValueError(f"No sequence {sequence}.")
        if not tokens or end > limits.batch:
            raise ValueError(f"A batch takes from 1 to {limits.batch} tokens.")
        if min(tokens) < 0 or max(tokens) >= self._vocabulary_size:
            raise ValueError(f"Token ids must be from 0 to {self._vocabulary_size - 1}.")
        if position < 0 or position + len(tokens) > limits.tokens:
            raise ValueError(f"Positions must be below {limits.tokens}.")
        if output and limits.pooling is None and self._outputs >= limits.sequences:
            raise ValueError(f"A batch has at most {limits.sequences} outputs.")
