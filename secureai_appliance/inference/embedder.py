"""A loaded embedding model: texts into vectors of length 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secureai_appliance.core.errors import InternalError, ValidationError
from secureai_appliance.inference.context import Context
from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.generation import Priority
from secureai_appliance.inference.gguf import RANK, GgufInfo
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.pooled import PooledModel, PooledOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MEAN = 1  # llama.cpp's pooling type


class Embedder(PooledModel):
    """One loaded embedding model. `dimension` is the length of its vectors."""

    _noun = "embedding model"

    def __init__(self, path: Path, options: PooledOptions | None = None, cores: CoreBudget | None = None) -> None:
        """Load the model; blocks until it can answer. `cores` None: it has them all. Raises LoadFailure."""
        super().__init__(path, options or PooledOptions(), _pooling, cores)
        self.dimension = self._model.embedding_length

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
        return self._results(inputs, abandoned, priority)

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

    def _read(self, context: Context, sequence: int) -> NDArray[np.float32]:
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


def _pooling(info: GgufInfo) -> int:
    """The file's own pooling; the mean where it names none."""
    pooling = info.pooling or _MEAN
    if pooling >= RANK:
        raise LoadFailure("The model ranks texts; it makes no embeddings.")
    return pooling
