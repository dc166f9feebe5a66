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


def plan(running: Iterable[Sequence], chunk: int, served: Callable[[str], float]) -> list[Work]:
    """One token of everything that decodes, first, so that no prompt stalls a stream; then up to `chunk` prompt tokens,
    by priority, then those of the user who was `served` least, then the oldest.

    Who waits for cells that another computes has no part in it.
    """
    sequences = list(running)
    decoding = [Work(sequence, 1) for sequence in sequences if sequence.decoding]
    room = chunk
    prompts: list[Work] = []
    reading = [sequence for sequence in sequences if not sequence.decoding and sequence.following is None]
    for sequence in sorted(reading, key=lambda s: (s.priority, served(s.key), s.arrival)):
        if room == 0:
            break
        count = min(sequence.missing, room)
        prompts.append(Work(sequence, count))
        room -= count
    return decoding + prompts
