"""Choosing the next token of one sequence."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.inference.library import Library

_RANDOM_SEED = 0xFFFF_FFFF  # to llama.cpp this value means "pick one yourself"


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. `temperature` 0 always takes the likeliest.

    Candidates are the `top_k` likeliest (0: all), of them those that make up `top_p` (0…1) of the probability, of them
    those at least `min_p` (0…1) as likely as the likeliest.

    The same `seed` (any integer), prompt and settings give the same text when the request runs alone; None is random.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValidationError: llama.cpp doesn't check, and a NaN ends the process."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValidationError("The 'temperature' field must not be negative.", field="temperature")
        if not 0 <= self.top_p <= 1:
            raise ValidationError("The 'top_p' field must be from 0 to 1.", field="top_p")
        if not 0 <= self.min_p <= 1:
            raise ValidationError("The 'min_p' field must be from 0 to 1.", field="min_p")
        if not 0 <= self.top_k < 2**31:
            raise ValidationError("The 'top_k' field must not be negative.", field="top_k")


class Sampler:
    """The chain of samplers of one sequence. Belongs to the thread that owns the context; `close` frees it."""

    def __init__(self, library: Library, sampling: Sampling) -> None:
        self._api: Any = library.api
        self._chain: Any = self._api.llama_sampler_chain_init(self._api.llama_sampler_chain_default_params())
        for part in self._parts(sampling):
            self._api.llama_sampler_chain_add(self._chain, part)  # the chain owns its parts from here on

    def _parts(self, sampling: Sampling) -> list[Any]:
        api = self._api
        if sampling.temperature == 0:
            return [api.llama_sampler_init_greedy()]
        parts = [api.llama_sampler_init_top_k(sampling.top_k)] if sampling.top_k else []
        parts += [api.llama_sampler_init_top_p(sampling.top_p, 1)] if sampling.top_p < 1 else []
        parts += [api.llama_sampler_init_min_p(sampling.min_p, 1)] if sampling.min_p else []
        return [*parts, api.llama_sampler_init_temp(sampling.temperature), api.llama_sampler_init_dist(_seed(sampling))]

    def sample(self, context: Any, index: int) -> int:
        """The token after the output at `index` of the last batch."""
        return int(self._api.llama_sampler_sample(self._chain, context, index))

    def close(self) -> None:
        if self._chain:
            self._api.llama_sampler_free(self._chain)
            self._chain = None


def _seed(sampling: Sampling) -> int:
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & 0xFFFF_FFFF
    return seed - 1 if seed == _RANDOM_SEED else seed
