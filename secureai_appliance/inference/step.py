"""What one step of the engine computes: a decision about numbers, without llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from secureai_appliance.inference.sequence import Sequence


@dataclass(frozen=True)
class Work:
    """The next `count` missing tokens of a sequence; a new token is sampled when they are the last ones."""

    sequence: Sequence
    count: int

    @property
    def samples(self) -> bool:
        return self.count == self.sequence.missing


def reading(running: Iterable[Sequence], served: Callable[[str], float]) -> list[Sequence]:
    """Whose prompts are to be computed, in order: by priority; then of users whom no answer reaches yet, so that a
    first token comes before others' next ones; then of the user who was `served` least; then the oldest.

    Who waits for cells that another computes has no part in it.
    """
    sequences = list(running)
    hearing = {sequence.key for sequence in sequences if sequence.decoding}
    prompts = [sequence for sequence in sequences if not sequence.decoding and sequence.following is None]
    return sorted(prompts, key=lambda s: (s.priority, s.key in hearing, served(s.key), s.arrival))


def urgent(running: Iterable[Sequence], prompts: list[Sequence]) -> int:
    """The prompt tokens that the first of `prompts` still misses if it is for a user who has no answer yet, while
    others' answers are written; else 0.
    """
    if not prompts or prompts[0].sampled:
        return 0
    hearing = _hearing(running, prompts[0])
    return prompts[0].missing if hearing and prompts[0].key not in hearing else 0


def unheard(running: Iterable[Sequence], prompts: list[Sequence]) -> int:
    """The prompt tokens that the first of `prompts` and all others like it (`urgent`) still miss: whatever else is
    computed with them would only make them wait.
    """
    hearing = _hearing(running, prompts[0])
    return sum(one.missing for one in prompts if one.priority == prompts[0].priority and one.key not in hearing)


def _hearing(running: Iterable[Sequence], first: Sequence) -> set[str]:
    """The users whom answers reach that are at least as important as `first`."""
    return {sequence.key for sequence in running if sequence.decoding and sequence.priority <= first.priority}


def first(prompts: Iterable[Sequence]) -> list[Work]:
    """Nothing but the first prompt, to its end."""
    return [Work(sequence, sequence.missing) for sequence in list(prompts)[:1]]


def plan(running: Iterable[Sequence], prompts: Iterable[Sequence], chunk: int) -> list[Work]:
    """One token of everything that decodes, first, so that no prompt stalls a stream; then up to `chunk` tokens of
    `prompts`, in their order.
    """
    work = [Work(sequence, 1) for sequence in running if sequence.decoding]
    room = chunk
    for sequence in prompts:
        if room == 0:
            break
        count = min(sequence.missing, room)
        work.append(Work(sequence, count))
        room -= count
    return work
