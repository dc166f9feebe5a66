"""The tokens among which a sampler chooses, with their logits."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secureai_appliance.inference.library import Library
from secureai_appliance.inference.sampling import TokenLogprob

_ENTRY = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])  # llama_token_data
_LEAST = -9999.0  # what OpenAI sends for a probability that is not told

Ids = NDArray[np.int32]


class Likeliest:
    """The likeliest token of an output, ten times faster than through a sampler, which copies the vocabulary."""

    def __init__(self, library: Library, size: int) -> None:
        self._logits_of: Any = library.api.llama_get_logits_ith
        self._row: Any = ctypes.POINTER(ctypes.c_float * size)

    def of(self, context: Any, index: int) -> int:
        """Of several, the one with the lowest id, as llama.cpp has it. Raises ValueError when there are no logits."""
        pointer = self._logits_of(context, index)
        if not pointer:
            raise ValueError(f"The batch has no output {index}.")
        return int(np.frombuffer(ctypes.cast(pointer, self._row).contents, np.float32).argmax())


class Entries:
    """An array of llama.cpp's candidates over memory of ours, which samplers and grammars change."""

    def __init__(self, api: Any, ids: Ids, logits: NDArray[np.float32]) -> None:
        self.memory = np.empty(len(ids), _ENTRY)
        self.memory["id"] = ids
        self.memory["logit"] = logits
        self.memory["p"] = 0
        data = self.memory.ctypes.data_as(ctypes.POINTER(api.llama_token_data))
        self.native = api.llama_token_data_array(data, len(ids), -1, False)


class Candidates:
    """The logits of one output, for a thread that owns the context."""

    def __init__(self, library: Library, size: int) -> None:
        self._api: Any = library.api
        self._all: Ids = np.arange(size, dtype=np.int32)
        self.logits: NDArray[np.float32] = np.zeros(size, np.float32)

    def read(self, context: Any, index: int) -> None:
        """Take the logits of the output at `index` of the last batch. Raises ValueError when there are none."""
        pointer = self._api.llama_get_logits_ith(context, index)
        if not pointer:
            raise ValueError(f"The batch has no output {index}.")
        self.logits[:] = np.ctypeslib.as_array(pointer, shape=self.logits.shape)

    def draw(self, chain: Any, ids: Ids | None = None) -> int:
        """The token that the samplers of `chain` choose among `ids` (None: all). They don't take note of it."""
        chosen = self._all if ids is None else ids
        entries = Entries(self._api, chosen, self.logits if ids is None else self.logits[ids])
        self._api.llama_sampler_apply(chain, ctypes.byref(entries.native))
        selected = int(entries.native.selected)
        if not 0 <= selected < int(entries.native.size):
            raise ValueError("The samplers chose nothing.")
        return int(entries.native.data[selected].id)

    def logprob(self, token: int, alternatives: int) -> TokenLogprob:
        """The log-probability of `token`, and those of the likeliest tokens, likeliest first."""
        highest = float(self.logits.max())
        total = highest + float(np.log(np.exp(self.logits - highest, dtype=np.float64).sum()))
        top: list[int] = []
        if alternatives:
            best = np.argpartition(self.logits, -alternatives)[-alternatives:]
            top = [int(id) for id in best[np.argsort(-self.logits[best], kind="stable")]]
        return TokenLogprob(token, self._of(token, total), tuple((other, self._of(other, total)) for other in top))

    def _of(self, token: int, total: float) -> float:
        return max(_LEAST, float(self.logits[token]) - total)
