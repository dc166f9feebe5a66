"""Cells of the KV that are worth keeping: prompts that begin alike are computed once.

Only under an equal reuse key: whether a prompt was answered faster would tell one user what another asked. A beginning
that is no user's own (an assistant's instructions) is shared by all whose prompts begin with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from secureai_appliance.inference.sequence import Sequence

# fewer tokens than this are computed again rather than shared
SHORTEST = 16
# a kept sequence of which this part is taken over lives on in the one that took it
_TAKEN_OVER = 0.9

# by how much a step may take longer because of cells that are kept and not used
_STEP_SHARE = 0.05
# measured: 14,000 kept cells lengthened a step from 7.7 to 11.5 ms; believed until this machine tells better
_EXPECTED_SLOPE = 0.5 / 14_000
_EXPECTATION_WEIGHT = 50 * 1000.0**2
_FORGETTING = 0.999
_SMOOTHING = 0.002
_FEWEST_CELLS = 256
# each answer of a step looks at every cell: measured, 2,000 kept ones lengthen a step of eight answers from 41 to 47 ms
_SEVERAL = 3
_MOST_BESIDE_SEVERAL = 512
_MANY = 8
_MOST_BESIDE_MANY = 128


class Memory(Protocol):
    """What is asked of a context."""

    def copy(self, source: int, target: int, length: int) -> None: ...

    def cut(self, sequence: int, length: int) -> None: ...

    def remove(self, sequence: int) -> None: ...

    def clear(self) -> None: ...


@dataclass(eq=False)
class Kept:
    """The cells of a sequence that has ended or paused; `slot` is its number in the context."""

    slot: int
    key: str
    tokens: list[int]
    common_key: str = ""
    common: int = 0

    @property
    def computed(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Match:
    """The first `length` tokens are those of `source`, which may not have computed them all yet."""

    source: Sequence | Kept
    length: int

    @property
    def ready(self) -> bool:
        return self.source.computed >= self.length


def common_prefix(one: list[int], other: list[int], most: int) -> int:
    """How many of the first `most` tokens agree."""
    most = min(most, len(one), len(other))
    if one[:most] == other[:most]:
        return most
    low, high = 0, most  # the first `low` agree, the first `high` don't
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


class Prefixes:
    """Numbers of sequences in the context, and whose cells are kept under them. Oldest use goes first.

    With `whole`, a kept sequence is taken from its first to its last token or not at all, because the model's memory
    can't be cut.
    """

    def __init__(self, memory: Memory, numbers: int, slots: int, *, whole: bool) -> None:
        self._memory = memory
        self._free = set(range(numbers))
        self._most = numbers - slots
        self._whole = whole
        self._kept: list[Kept] = []

    @property
    def cells(self) -> int:
        """Kept cells; those that running sequences share with them are counted too."""
        return sum(len(kept.tokens) for kept in self._kept)

    def find(self, sequence: Sequence, running: Iterable[Sequence]) -> Match | None:
        """Where the longest beginning of its tokens is, or is being computed. The last token is always computed."""
        most = len(sequence.tokens) - 1
        sources: list[Sequence | Kept] = [kept for kept in self._kept if kept.key == sequence.cells_key]
        if sequence.reuse_key and not self._whole:
            sources += [
                owner
                for owner in running
                if owner is not sequence
                and owner.following is None
                and owner.reuse_key == sequence.reuse_key
                and owner.priority <= sequence.priority
            ]
        matches = [Match(source, common_prefix(source.tokens, sequence.tokens, most)) for source in sources]
        if self._whole:
            matches = [match for match in matches if match.length == len(match.source.tokens)]
        else:
            matches += self._common(sequence, running, most)
        best = max(matches, key=lambda match: match.length, default=None)
        return best if best is not None and best.length >= SHORTEST else None

    def _common(self, sequence: Sequence, running: Iterable[Sequence], most: int) -> Iterator[Match]:
        """Where the beginning that belongs to no user is, among the cells of others."""
        if not sequence.common_key:
            return
        most = min(most, sequence.common)
        for kept in self._kept:
            if kept.common_key == sequence.common_key:
                yield Match(kept, common_prefix(kept.tokens, sequence.tokens, min(most, kept.common)))
        for owner in running:
            if (
                owner is not sequence
                and owner.following is None
                and owner.common_key == sequence.common_key
                and owner.priority <= sequence.priority
            ):
                yield Match(owner, common_prefix(owner.tokens, sequence.tokens, min(most, owner.common)))

    def take_number(self) -> int:
        """A number for a sequence that starts; a kept one makes room when there is none."""
        if not self._free:
            self.drop_oldest()
        number = min(self._free)
        self._free.remove(number)
        return number

    def share(self, match: Match, target: int) -> None:
        """Give the matching cells to the sequence `target` as well."""
        self._memory.copy(match.source.slot, target, match.length)
        if isinstance(match.source, Kept):
            self._kept.remove(match.source)
            if match.length >= _TAKEN_OVER * len(match.source.tokens):
                self._release(match.source.slot)
            else:
                self._kept.append(match.source)  # used last

    def leave(self, sequence: Sequence, *, keep: bool) -> None:
        """A sequence gives up its number, and its cells unless they are kept."""
        tokens = sequence.tokens[: sequence.computed]
        if not keep or self._most == 0 or len(tokens) < SHORTEST or not sequence.cells_key:
            self._release(sequence.slot)
            return
        if len(self._kept) >= self._most:
            self.drop_oldest()
        self._kept.append(Kept(sequence.slot, sequence.cells_key, tokens, sequence.common_key, sequence.common))

    def trim(self, most_cells: int) -> None:
        """Keep at most that many cells. Ends go before beginnings, which more prompts have in common."""
        while self._kept and (excess := self.cells - most_cells) > 0:
            oldest = self._kept[0]
            length = len(oldest.tokens) - excess
            if self._whole or length < SHORTEST:
                self.drop_oldest()
            else:
                self._memory.cut(oldest.slot, length)
                del oldest.tokens[length:]

    def drop_oldest(self) -> None:
        self._release(self._kept.pop(0).slot)

    def forget_all(self) -> None:
        """Every cell is gone; the numbers of running sequences stay theirs."""
        self._free.update(kept.slot for kept in self._kept)
        self._kept.clear()
        self._memory.clear()

    def _release(self, number: int) -> None:
        self._memory.remove(number)
        self._free.add(number)


class RetentionBudget:
    """How many unused cells may be kept, so that a step takes at most a twentieth longer: from measured steps.

    Every cell below the last one in use costs time in every step, whoever owns it; so the times of ordinary decode
    steps, which grow with the answers, tell the price of a cell.
    """

    def __init__(self) -> None:
        self._means: dict[tuple[int, int], tuple[int, float, float]] = {}
        self._xx = 0.0
        self._xy = 0.0

    def observe(self, tokens: int, threads: int, cells: int, seconds: float) -> None:
        """A step of `tokens` answers took `seconds` while so many cells were in use."""
        if seconds <= 0:
            return
        shape = (tokens, threads)
        count, mean_cells, mean_seconds = self._means.get(shape, (0, float(cells), seconds))
        x = cells - mean_cells
        y = max(-0.5, min(0.5, seconds / mean_seconds - 1))  # a step that something else held up is no measure
        self._xx = _FORGETTING * self._xx + x * x
        self._xy = _FORGETTING * self._xy + x * y
        rate = max(1 / (count + 1), _SMOOTHING)
        self._means[shape] = (count + 1, mean_cells + rate * x, mean_seconds * (1 + rate * y))

    @property
    def cells(self) -> int:
        slope = (self._xy + _EXPECTATION_WEIGHT * _EXPECTED_SLOPE) / (self._xx + _EXPECTATION_WEIGHT)
        return max(_FEWEST_CELLS, int(_STEP_SHARE / max(slope, 1e-7)))

    def beside(self, running: int) -> int:
        """How many may be kept while so many sequences run."""
        if running < _SEVERAL:
            return self.cells
        return min(self.cells, _MOST_BESIDE_SEVERAL if running < _MANY else _MOST_BESIDE_MANY)
