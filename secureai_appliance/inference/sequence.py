"""The engine's own side of a generation."""

from __future__ import annotations

from dataclasses import dataclass, field

from secureai_appliance.core.errors import Failure
from secureai_appliance.inference.generation import Finished, FinishReason, Generation, GenerationRequest, Text, Usage
from secureai_appliance.inference.sampling import Sampler, TokenLogprob
from secureai_appliance.inference.stops import StopMatcher
from secureai_appliance.inference.tokens import IncrementalText, Vocabulary

_NO_SLOT = -1


@dataclass(eq=False)
class Sequence:
    """A request from submission to its end.

    `tokens` is the prompt and all that was sampled; the first `computed` of them are in the KV. To go on, the rest must
    be computed: the prompt at first, one token at each step later, everything again after it lost its cells. `cached`
    tokens of the prompt were in the KV before. `following`: another sequence is computing so many of its first tokens.
    """

    generation: Generation
    request: GenerationRequest
    limit: int
    arrival: int
    submitted_at: float
    tokens: list[int]
    computed: int = 0
    reserved: int = 0
    slot: int = _NO_SLOT
    cached: int = 0
    following: tuple[Sequence, int] | None = None
    started: bool = False
    started_at: float = 0.0
    sampler: Sampler | None = None
    _text: IncrementalText = field(default_factory=IncrementalText)
    _stops: StopMatcher = field(init=False)
    _unshown: int = 0
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stops = StopMatcher(self.request.stop)

    @property
    def key(self) -> str:
        return self.request.fairness_key

    @property
    def priority(self) -> int:
        return self.request.priority

    @property
    def reuse_key(self) -> str:
        """Whose cells it may share; empty: nobody's."""
        key = self.request.reuse_key
        return self.request.fairness_key if key is None else key

    @property
    def common_key(self) -> str:
        """Under which the first `request.common` of its tokens are shared with everybody's; empty: not."""
        return self.request.common_key if self.request.common else ""

    @property
    def common(self) -> int:
        """How many of its first tokens are nobody's own."""
        return self.request.common

    @property
    def cells_key(self) -> str:
        """Under which its own cells are kept; when nobody shares them, they wait only for itself."""
        return f"u:{self.reuse_key}" if self.reuse_key else f"s:{self.arrival}"

    @property
    def seeded(self) -> bool:
        return self.request.sampling.seed is not None

    @property
    def prompt_length(self) -> int:
        return len(self.request.prompt)

    @property
    def sampled(self) -> int:
        return len(self.tokens) - self.prompt_length

    @property
    def remaining(self) -> int:
        """How many tokens it may still sample."""
        return self.limit - self.sampled

    @property
    def missing(self) -> int:
        """How many of its tokens are not in the KV yet."""
        return len(self.tokens) - self.computed

    @property
    def decoding(self) -> bool:
        return self.sampled > 0 and self.missing == 1

    def accept(self, token: int, vocabulary: Vocabulary) -> FinishReason | None:
        """Take a sampled token, publish the text that it completes, and say whether the answer ends with it."""
        self.tokens.append(token)
        self._unshown += 1
        if vocabulary.is_end(token) and token not in self.request.visible:
            return "stop"
        if self.sampler is not None and self.sampler.logprob is not None:
            self._logprobs.append(self.sampler.logprob)
        piece = vocabulary.piece_or_name(token) if token in self.request.visible else vocabulary.piece(token)
        safe, stopped = self._stops.feed(self._text.feed(piece))
        self._show(safe)
        if stopped:
            self._text = IncrementalText()  # a character begun after the stop sequence is not shown either
            return "stop"
        return "length" if self.remaining <= 0 else None

    def finish(self, reason: FinishReason, error: Failure | None = None) -> None:
        """Publish what was held back and the end. The text after a stop sequence is gone already."""
        rest, _ = self._stops.feed(self._text.flush())
        self._show(rest + self._stops.flush())
        if self.sampler is not None:
            self.sampler.close()
            self.sampler = None
        self.generation.waiting = None
        self.generation.publish(Finished(reason, Usage(self.prompt_length, self.sampled, self.cached), error))

    def take_cells(self, count: int) -> None:
        """The first `count` of its tokens are in the KV, without having been computed for it."""
        self.computed = count
        if self.sampled == 0:
            self.cached = min(count, self.prompt_length)

    def give_up_slot(self) -> None:
        """Its cells are not its own any more: what nobody kept of them must be computed again."""
        self.slot = _NO_SLOT
        self.computed = 0
        self.reserved = 0
        self.following = None

    def _show(self, text: str) -> None:
        if text:
            self.generation.publish(Text(text, self._unshown, tuple(self._logprobs)))
            self._unshown = 0
            self._logprobs = []
