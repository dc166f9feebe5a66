"""How many prompt tokens go into a step: a decision about measured times, without llama.cpp.

A step is the unit in which everybody waits. Beside answers that are being written, a prompt may lengthen it only so far
that nobody sees them stop; where nothing is written, so far that a cancellation or a newcomer is noticed soon.
"""

from __future__ import annotations

# a step with prompt tokens takes at most this many times as long as one did before the prompt came
_STRETCH = 3.3
# what a step without lost since then: this part at most by the prompt's own cells, the rest by a load that came
_OWN_SHARE = 0.75
# and at most so many seconds, unless the model is so slow that this would leave the prompt nearly nothing
_LONGEST_GAP = 0.18
_SLOW_STRETCH = 2.0
# one step in so many may be long whatever the others take, for somebody whose first token it brings: few enough that
# the 95th percentile of the gaps doesn't know. Those not used are saved, up to a few
_STEPS_PER_LONG = 25
_MOST_SAVED = 4.0
_LONG_STEP = 0.21
# a first token that doesn't come with such a step may come with one in which no answer gets a token, if those wait no
# longer than this from one token to the next
_LONGEST_PAUSE = 0.24
# a prompt that would take more long steps than this gains little by one
_LONG_STEPS = 2
# a step with so much more than it would have had otherwise was one of them
_LONG = 1.2
_LONGEST_ALONE = 0.5
_FEWEST = 4
_FEWEST_ALONE = 16
_FIRST_MIXED = 16
_SMOOTHING = 0.2
# fewer tokens than this tell less about the price of one: they bear the whole cost of there being any in a step
_TELLING = 8
# after so many steps with prompt tokens one goes without, to learn anew what that costs: else the price of the prompt
# would take all the blame for a load that has come
_STEPS_TO_REFRESH = 12
_REFRESH = 0.5
# a step that something else held up counts as this many times what was expected
_OUTLIER = 3.0
# measured: a step of n answers takes about n**0.75 times as long as one of one
_GROWTH = 0.75
# measured: at a depth of 2,000 a token costs three times what it does at the beginning, where attention is nearly free
_SHALLOW = 1024


class ChunkSizer:
    """Learns the price of a decode step and of a prompt token, apart for each count of threads. A token's price also
    depends on how deep in the prompt it stands, and on whether answers are written beside: without them chunks are
    large, and llama.cpp's attention has a cheaper way for those.

    Belongs to the thread that computes.
    """

    def __init__(self, most: int) -> None:
        """Chunks are never larger than `most` tokens."""
        self._most = most
        self._steps: dict[tuple[int, int], float] = {}
        self._pace: dict[tuple[int, int], float] = {}
        self._tokens: dict[tuple[bool, int, int], float] = {}
        self._mixed_steps = 0
        self._long_steps = _MOST_SAVED

    def size(self, decoding: int, depth: int = 0, threads: int = 1, *, urgent: int = 0) -> int:
        """Prompt tokens for the next step, which begin at token `depth` of their prompt and beside which so many
        answers get a token. `urgent`: how many stand between somebody and his first token. Now and then 0 beside
        answers.
        """
        token = self._token(decoding > 0, depth, threads)
        if decoding == 0:
            return self._most if token is None else self._alone(token)
        step = self._step(decoding, threads)
        if urgent and token is not None and step is not None and self._long_steps >= 1:
            long = int((_LONG_STEP - step) / token)
            if urgent <= _LONG_STEPS * long:
                return min(self._most, long)
        if self._mixed_steps >= _STEPS_TO_REFRESH:
            return 0
        if token is None or step is None:
            return min(self._most, _FIRST_MIXED)
        target = self._target(decoding, threads, step)
        return max(min(_FEWEST, self._most), min(self._most, int((target - step) / token)))

    def goes_first(self, decoding: int, depth: int, threads: int, urgent: int) -> bool:
        """Whether the next step computes nothing but the `urgent` tokens that stand between somebody and his first
        one: beside so many answers they would take more than one step. It counts as a long one.
        """
        step, alone = self._step(decoding, threads), self._token(False, depth, threads)
        beside = self._token(True, depth, threads)
        if not urgent or urgent > self._most or step is None or alone is None or beside is None:
            return False
        if self._long_steps < 1 or step + urgent * beside <= _LONG_STEP or step + urgent * alone > _LONGEST_PAUSE:
            return False
        self._long_steps -= 1
        return True

    def observe(self, decoding: int, prompt_tokens: int, seconds: float, depth: int = 0, threads: int = 1) -> None:
        """A step took that long."""
        if seconds <= 0:
            return
        self._long_steps = min(_MOST_SAVED, self._long_steps + 1 / _STEPS_PER_LONG)
        if prompt_tokens == 0:
            self._observe_step((decoding, threads), seconds)
        elif decoding == 0:
            self._observe_prompt((False, _level(depth), threads), 0.0, prompt_tokens, seconds)
        else:
            self._observe_mixed(decoding, prompt_tokens, seconds, depth, threads)

    def _observe_mixed(self, decoding: int, prompt_tokens: int, seconds: float, depth: int, threads: int) -> None:
        self._mixed_steps += 1
        step, token = self._step(decoding, threads), self._token(True, depth, threads)
        if step is None:
            return
        if token is not None and step + prompt_tokens * token > _LONG * self._target(decoding, threads, step):
            self._long_steps -= 1
        self._observe_prompt((True, _level(depth), threads), step, prompt_tokens, seconds)

    def _observe_step(self, shape: tuple[int, int], seconds: float) -> None:
        beside_a_prompt = self._mixed_steps > 0
        self._mixed_steps = 0
        known = self._steps.get(shape, seconds)
        rate = _REFRESH if beside_a_prompt else _SMOOTHING
        self._steps[shape] = known + rate * (min(seconds, _OUTLIER * known) - known)
        if not beside_a_prompt:
            self._pace[shape] = self._steps[shape]

    def _observe_prompt(self, kind: tuple[bool, int, int], step: float, tokens: int, seconds: float) -> None:
        price = max(seconds - step, 0.1 * seconds) / tokens
        known = self._tokens.get(kind, price)
        rate = _SMOOTHING * min(1.0, tokens / _TELLING)
        self._tokens[kind] = known + rate * (min(price, _OUTLIER * known) - known)

    def _alone(self, token: float) -> int:
        """In halvings of the largest, so that chunks, which change the logits, rarely change themselves."""
        size = self._most
        while size // 2 >= _FEWEST_ALONE and size * token > _LONGEST_ALONE:
            size //= 2
        return size

    def _token(self, mixed: bool, depth: int, threads: int) -> float | None:
        """The price of a prompt token; of a kind not seen yet, what it may be at most by the nearest that was."""
        level = _level(depth)
        nearest = min(
            self._tokens, key=lambda kind: (kind[0] != mixed, kind[2] != threads, abs(kind[1] - level)), default=None
        )
        if nearest is None:
            return None
        deeper = (_SHALLOW + (depth if level > nearest[1] else 0)) / _SHALLOW
        return self._tokens[nearest] * deeper * _slower(nearest[2], threads)

    def _target(self, decoding: int, threads: int, step: float) -> float:
        """Seconds that a step with prompt tokens may take where one without takes `step` now."""
        pace = _nearest(self._pace, decoding, threads)
        before = step if pace is None else max(pace, _OWN_SHARE * step)
        return max(min(_STRETCH * before, _LONGEST_GAP), _SLOW_STRETCH * step)

    def _step(self, decoding: int, threads: int) -> float | None:
        """The price of a decode step."""
        return _nearest(self._steps, decoding, threads)


def _nearest(prices: dict[tuple[int, int], float], decoding: int, threads: int) -> float | None:
    """The price of a decode step; of a size not seen yet, by the nearest one that was."""
    nearest = min(prices, key=lambda known: (known[1] != threads, abs(known[0] - decoding)), default=None)
    if nearest is None:
        return None
    return prices[nearest] * float((decoding / nearest[0]) ** _GROWTH) * _slower(nearest[1], threads)


def _level(depth: int) -> int:
    """Depths of one price: each is twice as deep as the one before."""
    return (depth // 256).bit_length()


def _slower(known: int, threads: int) -> float:
    """By how much a count of threads that was not seen yet may be slower than one that was."""
    return max(1.0, known / threads)
