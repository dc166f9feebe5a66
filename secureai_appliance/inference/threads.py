"""How many threads compute a step: a decision about measured times, without llama.cpp.

llama.cpp's threads wait for each other at every operation. With a core for each they share the work; when one of them
has to wait for a core that something else uses, all wait with it, and a step can take fifty times as long. Nobody tells
which of the two holds, and it changes from one moment to the next: so it is measured.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_WINDOW = 8
_PROBE_STEPS = 4
# a count is changed for a gain of at least this much: less is noise
_GAIN = 0.97
_WORSE = 1.05
# a probe ends with a step that is this many times slower than usual
_HOPELESS = 1.5
# a step this many times slower than usual means that a load has come
_SHARP = 2.0
# or has been there for that one step only. What such steps lose is paid from what the count has gained before, of which
# so many seconds are saved. What they can't pay for: some steps are computed with the fewest threads before the count
# is tried again, and if another one comes before the gains have paid, it is a load
_SAVED_SECONDS = 0.5
_STEPS_ASIDE = 4
# of all time computed, the part that probes may lose; the loss of one is paid back before the next one begins
_LOSS_SHARE = 0.04
# steps in which a count that a probe found better still pays for what it loses: threads that have slept are preferred
# by the system at first, so that a busy machine looks free for some milliseconds
_TRIAL_STEPS = 100
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE_UP = 2.0
_LONGEST_PAUSE_DOWN = 20.0


@dataclass
class _Probe:
    threads: int
    costs: list[float] = field(default_factory=list)


class _Shape:
    """What is known of steps of about one size. Costs are seconds per token."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.costs: dict[int, deque[float]] = {}
        self.probe: _Probe | None = None
        self.trial_steps = 0
        self.aside_steps = 0
        self.unpaid = 0.0  # below 0: what is saved
        self.since_probe = 0.0
        self.pauses: dict[int, float] = {}

    def cost(self, threads: int) -> float:
        """The mean of the last steps: it is throughput that counts, and rare long steps are part of it."""
        known = self.costs[threads]
        return sum(known) / len(known)

    def note(self, threads: int, cost: float) -> None:
        self.costs.setdefault(threads, deque(maxlen=_WINDOW)).append(cost)

    def best_other(self) -> int | None:
        others = [threads for threads in self.costs if threads != self.threads]
        return min(others, key=self.cost, default=None)


class ThreadChooser:
    """Takes the count of threads that was fastest lately, for each size of step, and looks now and then at another one.

    Not thread-safe; belongs to the thread that computes.
    """

    def __init__(self, most: int, least: int = 1) -> None:
        """Counts from `least` to `most`, in doublings."""
        self.candidates = [least]
        while self.candidates[-1] * 2 < most:
            self.candidates.append(self.candidates[-1] * 2)
        if most > least:
            self.candidates.append(most)
        self._shapes: dict[int, _Shape] = {}
        self._latest = self.candidates[-1]
        self._debt = 0.0

    def choose(self, tokens: int) -> int:
        """The count for the next step, which computes that many tokens."""
        shape = self._shape(tokens)
        if shape.aside_steps:
            return self.candidates[0]
        return shape.probe.threads if shape.probe else shape.threads

    def settled(self, tokens: int) -> int:
        """The same without looking at another one: for a step that somebody waits for."""
        shape = self._shape(tokens)
        return self.candidates[0] if shape.aside_steps else shape.threads

    def observe(self, tokens: int, threads: int, seconds: float) -> None:
        """A step of `tokens` tokens took that long on that many threads."""
        if len(self.candidates) == 1:
            return
        shape = self._shape(tokens)
        self._debt = max(0.0, self._debt - _LOSS_SHARE * seconds)
        if shape.aside_steps:
            if threads == self.candidates[0]:
                shape.note(threads, seconds / tokens)
                shape.aside_steps -= 1
        elif shape.probe is not None and shape.probe.threads == threads:
            self._observe_probe(shape, shape.probe, tokens, seconds)
        elif threads == shape.threads:
            self._observe_usual(shape, tokens, seconds)
        self._latest = shape.threads

    def forgive(self) -> None:
        """The machine looks idle: the next probe may come without delay, whatever the last one lost."""
        self._debt = 0.0

    def _shape(self, tokens: int) -> _Shape:
        return self._shapes.setdefault(tokens.bit_length(), _Shape(self._latest))

    def _observe_usual(self, shape: _Shape, tokens: int, seconds: float) -> None:
        cost = seconds / tokens
        if self._is_sharp(shape, cost):
            self._observe_sharp(shape, cost, tokens)
            return
        shape.note(shape.threads, cost)
        shape.since_probe += seconds
        other = shape.best_other()
        if other is not None:
            shape.unpaid = max(-_SAVED_SECONDS, shape.unpaid - max(0.0, shape.cost(other) - cost) * tokens)
            if shape.trial_steps:
                shape.trial_steps -= 1
                self._debt += max(0.0, cost - shape.cost(other)) * tokens
            if shape.cost(shape.threads) > shape.cost(other) * _WORSE:
                self._change(shape, other)
                return
        if len(shape.costs[shape.threads]) >= 2:
            self._consider_probe(shape)

    def _is_sharp(self, shape: _Shape, cost: float) -> bool:
        """Whether fewer threads could have spared a step that was so much slower than usual."""
        known = shape.threads in shape.costs and shape.threads > self.candidates[0]
        return known and cost > _SHARP * shape.cost(shape.threads)

    def _observe_sharp(self, shape: _Shape, cost: float, tokens: int) -> None:
        excess = (cost - shape.cost(shape.threads)) * tokens
        again, shape.unpaid = shape.unpaid > 0, shape.unpaid + excess
        if not again or self.candidates[0] not in shape.costs:
            shape.aside_steps = _STEPS_ASIDE if shape.unpaid > 0 else 0
            return
        self._debt += excess
        shape.costs[shape.threads] = deque([cost], maxlen=_WINDOW)
        self._change(shape, self.candidates[0])

    def _change(self, shape: _Shape, threads: int) -> None:
        """Take another count, and let the other sizes of step learn from it: they share the machine."""
        left, sharply = shape.threads, shape.cost(shape.threads) > _SHARP * shape.cost(threads)
        shape.threads, shape.probe, shape.since_probe, shape.unpaid = threads, None, 0.0, 0.0
        for one in self._shapes.values():
            if threads < left and sharply and one.threads == left and one is not shape:
                one.threads, one.probe = threads, None
                one.costs.pop(left, None)
            elif threads > left and one.threads != threads:
                one.pauses.clear()
                one.costs.pop(threads, None)

    def _consider_probe(self, shape: _Shape) -> None:
        if self._debt > 0:
            return
        others = [threads for threads in self.candidates if threads != shape.threads]
        wanted = min(others, key=lambda threads: (self._pause(shape, threads), abs(threads - shape.threads)))
        if shape.since_probe >= self._pause(shape, wanted):
            self._start_probe(shape, wanted)

    @staticmethod
    def _start_probe(shape: _Shape, threads: int) -> None:
        shape.probe = _Probe(threads)
        shape.since_probe = 0.0

    @staticmethod
    def _pause(shape: _Shape, threads: int) -> float:
        return shape.pauses.get(threads, _FIRST_PAUSE) if threads in shape.costs else 0.0

    def _observe_probe(self, shape: _Shape, probe: _Probe, tokens: int, seconds: float) -> None:
        cost, usual = seconds / tokens, shape.cost(shape.threads)
        probe.costs.append(cost)
        self._debt += max(0.0, cost - usual) * tokens
        if len(probe.costs) < _PROBE_STEPS and cost <= _HOPELESS * usual:
            return
        shape.probe = None
        shape.costs[probe.threads] = deque(probe.costs, maxlen=_WINDOW)
        if shape.cost(probe.threads) < usual * _GAIN:
            shape.trial_steps = _TRIAL_STEPS
            shape.pauses.clear()
            self._change(shape, probe.threads)
        else:
            longest = _LONGEST_PAUSE_UP if probe.threads > shape.threads else _LONGEST_PAUSE_DOWN
            pause = shape.pauses.get(probe.threads, _FIRST_PAUSE)
            shape.pauses[probe.threads] = min(2 * pause, longest)
