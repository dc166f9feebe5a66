"""Choosing the next token of one sequence."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secureai_appliance.core.errors import ValidationError
from secureai_appliance.inference.library import Library

if TYPE_CHECKING:
    # these load numpy, which nothing does at the appliance's start
    from secureai_appliance.inference.candidates import Candidates, Likeliest
    from secureai_appliance.inference.grammar import Grammar, Matcher
    from secureai_appliance.inference.tokens import Vocabulary

_RANDOM_SEED = 0xFFFF_FFFF  # to llama.cpp this value means "pick one yourself"

MAX_ALTERNATIVES = 20
"""The most `top_logprobs`."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. `temperature` 0 always takes the likeliest.

    Candidates are the `top_k` likeliest (0: all), of them those that make up `top_p` (0…1) of the probability, of them
    those at least `min_p` (0…1) as likely as the likeliest.

    Before that `logit_bias` adds to the logits of single tokens, and tokens that the answer has already lose:
    `presence_penalty` once, `frequency_penalty` for each time (both are taken off the logit), `repeat_penalty` by
    division (1: none).

    The same `seed` (any integer), prompt and settings give the same text when the request runs alone; None is random.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()

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
        if not all(-100 <= bias <= 100 for _, bias in self.logit_bias):
            raise ValidationError("The values of 'logit_bias' must be from -100 to 100.", field="logit_bias")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2 <= getattr(self, name) <= 2:
                raise ValidationError(f"The '{name}' field must be from -2 to 2.", field=name)
        if not 0 < self.repeat_penalty <= 10:
            raise ValidationError(
                "The 'repeat_penalty' field must be from 0 to 10, 0 left out.", field="repeat_penalty"
            )

    @property
    def reorders(self) -> bool:
        """Whether a token may pass another that the model finds likelier."""
        return bool(self.logit_bias or self._penalises)

    @property
    def _penalises(self) -> bool:
        return bool(self.presence_penalty or self.frequency_penalty) or self.repeat_penalty != 1


@dataclass(frozen=True)
class TokenLogprob:
    """A sampled token's natural logarithm of probability, as the model had it before any setting, and the likeliest."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """The chain of samplers of one sequence. Belongs to the thread that owns the context; `close` frees it.

    With a grammar only tokens that it permits are chosen; with a `trigger` only once that text has come, and at most
    blanks after it. `alternatives` None: no logprobs; else how many others to
    tell. `logprob` is then that of the last token.
    """

    logprob: TokenLogprob | None = None

    def __init__(
        self,
        library: Library,
        vocabulary: Vocabulary,
        sampling: Sampling,
        *,
        memory: int = 0,
        grammar: Grammar | None = None,
        trigger: str | None = None,
        alternatives: int | None = None,
    ) -> None:
        """`memory`: the most tokens of the answer that penalties look back at."""
        self._api: Any = library.api
        self._vocabulary = vocabulary
        self._sampling = sampling
        self._alternatives = alternatives
        self._matcher: Matcher | None = grammar.matcher() if grammar is not None else None
        self._trigger = None if trigger is None else trigger.encode()
        self._tail = b""
        self._candidates: Candidates | None = None
        self._likeliest: Likeliest | None = None
        if grammar is not None or alternatives is not None:
            from secureai_appliance.inference.candidates import Candidates

            self._candidates = Candidates(library, vocabulary.size)
        elif sampling.temperature == 0 and not sampling.reorders:
            from secureai_appliance.inference.candidates import Likeliest

            self._likeliest = Likeliest(library, vocabulary.size)
        self._chain: Any = self._api.llama_sampler_chain_init(self._api.llama_sampler_chain_default_params())
        for part in [*self._adjustments(sampling, memory), *self._choice(sampling)]:
            self._api.llama_sampler_chain_add(self._chain, part)  # the chain owns its parts from here on

    def _adjustments(self, sampling: Sampling, memory: int) -> list[Any]:
        api, size = self._api, self._vocabulary.size
        parts = []
        if sampling.logit_bias:
            entries = (api.llama_logit_bias * len(sampling.logit_bias))(*sampling.logit_bias)
            parts.append(api.llama_sampler_init_logit_bias(size, len(entries), entries))
        if sampling._penalises:
            penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
            parts.append(api.llama_sampler_init_penalties(size, memory, *penalties))
        return parts

    def _choice(self, sampling: Sampling) -> list[Any]:
        api = self._api
        if sampling.temperature == 0:
            return [api.llama_sampler_init_greedy()]
        parts = [api.llama_sampler_init_top_k(sampling.top_k)] if sampling.top_k else []
        parts += [api.llama_sampler_init_top_p(sampling.top_p, 1)] if sampling.top_p < 1 else []
        parts += [api.llama_sampler_init_min_p(sampling.min_p, 1)] if sampling.min_p else []
        return [*parts, api.llama_sampler_init_temp(sampling.temperature), api.llama_sampler_init_dist(_seed(sampling))]

    def sample(self, context: Any, index: int) -> int:
        """The token after the output at `index` of the last batch."""
        if self._likeliest is not None:
            return self._likeliest.of(context, index)
        if self._candidates is None:
            return int(self._api.llama_sampler_sample(self._chain, context, index))
        self._candidates.read(context, index)
        if self._matcher is None or self._trigger is not None:
            token = int(self._api.llama_sampler_sample(self._chain, context, index))
            self._look_for_trigger(token)
        else:
            token = self._constrained(self._candidates, self._matcher)
        if self._alternatives is not None:
            self.logprob = self._candidates.logprob(token, self._alternatives)
        return token

    def _look_for_trigger(self, token: int) -> None:
        if self._trigger is not None:
            self._tail = (self._tail + self._vocabulary.piece_or_name(token))[-2 * len(self._trigger) - 32 :]
            if self._tail.rstrip().endswith(self._trigger):
                self._trigger = None

    def _constrained(self, candidates: Candidates, matcher: Matcher) -> int:
        """Masking the vocabulary costs more than a step, so one token is drawn and checked; few are refused."""
        token = candidates.draw(self._chain)
        if not matcher.permits(token):
            permitted = matcher.permitted(candidates.logits, self._enough)
            if not len(permitted):
                # a dead end: nothing in the vocabulary goes on. Whoever asked finds the answer unfinished
                return self._vocabulary.eos
            token = candidates.draw(self._chain, permitted)
        self._api.llama_sampler_accept(self._chain, token)
        matcher.accept(token)
        return token

    @property
    def _enough(self) -> int | None:
        """How many of the likeliest tokens decide the choice; None: all may matter."""
        if self._sampling.reorders:
            return None
        return 1 if self._sampling.temperature == 0 else self._sampling.top_k or None

    def close(self) -> None:
        if self._chain:
            self._api.llama_sampler_free(self._chain)
            self._chain = None
        if self._matcher is not None:
            self._matcher.close()


def _seed(sampling: Sampling) -> int:
    seed = secrets.randbits(32) if sampling.seed is None else sampling.seed & 0xFFFF_FFFF
    return seed - 1 if seed == _RANDOM_SEED else seed
