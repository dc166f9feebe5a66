"""How many prompt tokens go into a step: a decision about measured times, without llama.cpp.

A step is the unit in which everybody waits. Beside answers that are being written, a prompt may lengthen it only so far
that nobody sees them stop; where nothing is written, so far that a cancellation or a newcomer is noticed soon.
"""

from __future__ import annotations

# a step with prompt tokens takes at most this many times as long as one without
_STRETCH = 3.0
# and at most so many seconds, unless the model is so slow that this would leave the prompt nearly nothing
_LONGEST_GAP = 0.18
_SLOW_STRETCH = 2.0
_LONGEST_ALONE = 0.5
_FEWEST = 4
_FEWEST_ALONE = 16
_FIRST_MIXED = 16
_SMOOTHING = 0.2
# after so many steps with prompt tokens one goes without, to learn anew what that costs: else the price of the prompt
# would take all the blame for a load that has come
_STEPS_TO_REFRESH = 12
_REFRESH = 0.5
# a step that something else held up counts as this many times what was expected
_OUTLIER = 3.0
# measured: a step of n answers takes about n**0.75 times as long as one of one
_GROWTH = 0.75


class ChunkSizer:
    """Learns the price of a decode step and of a prompt token. Belongs to the thread that computes."""

    def __init__(self, most: int) -> None:
        """Chunks are never larger than `most` tokens."""
        self._most = most
        self._steps: dict[int, float] = {}
        self._token: float | None = None
        self._mixed_steps = 0

    def size(self, decoding: int) -> int:
        """Prompt tokens for the next step, in which so many answers get a token. Now and then 0 beside answers."""
        if decoding and self._mixed_steps >= _STEPS_TO_REFRESH:
            return 0
        if self._token is None:
            return self._most if decoding == 0 else min(self._most, _FIRST_MIXED)
        if decoding == 0:
            return self._alone(self._token)
        step = self._step(decoding)
        if step is None:
            return min(self._most, _FIRST_MIXED)
        target = max(min(_STRETCH * step, _LONGEST_GAP), _SLOW_STRETCH * step)
        return max(min(_FEWEST, self._most), min(self._most, int((target - step) / self._token)))

    def observe(self, decoding: int, prompt_tokens: int, seconds: float) -> None:
        """A step took that long."""
        if seconds <= 0:
            return
        if prompt_tokens == 0:
            self._observe_step(decoding, seconds)
        elif decoding == 0:
            self._observe_prompt(0.0, prompt_tokens, seconds)
        else:
            self._mixed_steps += 1
            step = self._step(decoding)
            if step is not None:
                self._observe_prompt(step, prompt_tokens, seconds)

    def _observe_step(self, decoding: int, seconds: float) -> None:
        rate = _REFRESH if self._mixed_steps else _SMOOTHING
        self._mixed_steps = 0
        known = self._steps.get(decoding, seconds)
        self._steps[decoding] = known + rate * (min(seconds, _OUTLIER * known) - known)

    def _observe_prompt(self, step: float, tokens: int, seconds: float) -> None:
        price = max(seconds - step, 0.1 * seconds) / tokens
        known = price if self._token is None else self._token
        self._token = known + _SMOOTHING * (min(price, _OUTLIER * known) - known)

    def _alone(self, token: float) -> int:
        """In halvings of the largest, so that chunks, which change the logits, rarely change themselves."""
        size = self._most
        while size // 2 >= _FEWEST_ALONE and size * token > _LONGEST_ALONE:
            size //= 2
        return size

    def _step(self, decoding: int) -> float | None:
        """The price of a decode step; of a size not seen yet, by the nearest one that was."""
        if decoding in self._steps:
            return self._steps[decoding]
        nearest = min(self._steps, key=lambda known: abs(known - decoding), default=None)
        return None if nearest is None else self._steps[nearest] * (decoding / nearest) ** _GROWTH
