"""On how many threads a chat model computes its next step: what is fastest, of what it may have."""

from __future__ import annotations

from secureai_appliance.inference.core_budget import ChatShare
from secureai_appliance.inference.cores import SpareCores
from secureai_appliance.inference.threads import ThreadChooser

# seconds between two looks at what else runs on the machine, and the part of a core that others may have while all
# cores count as ours: with more of it, one thread on each gains nothing
_LOOK_AROUND = 0.3
_OTHERS = 0.3


class StepThreads:
    """Belongs to the thread that computes."""

    def __init__(self, least: int, most: int, cores: ChatShare, now: float) -> None:
        """From `least` to `most` threads where the cores' other users leave so many."""
        self._chooser = ThreadChooser(most, least)
        self._most = self._allowed = most
        self._cores = cores
        self._spare_cores = SpareCores()
        self._looked_at = now

    def idle(self) -> None:
        """There is nothing to compute for now."""
        self._cores.idle()

    def begin_step(self) -> None:
        """Ask for cores; `counts` and `choose` are about this step from now on."""
        self._allowed = self._cores.next_step(self._most)

    def counts(self) -> set[int]:
        """All counts that `choose` may answer."""
        return {min(threads, self._allowed) for threads in self._chooser.candidates}

    def choose(self, tokens: int, *, urgent: bool = False) -> int:
        """The count for a step of so many tokens; where it is `urgent`, no other than the usual one is tried out."""
        wanted = self._chooser.settled(tokens) if urgent else self._chooser.choose(tokens)
        return min(wanted, self._allowed)

    def take(self, threads: int) -> None:
        """The step is computed by so many."""
        if threads != self._allowed:
            self._cores.uses(threads)

    def observe(self, tokens: int, threads: int, seconds: float, now: float) -> None:
        """It took that long."""
        if threads == self._chooser.choose(tokens):  # else it was not free to choose
            self._chooser.observe(tokens, threads, seconds)
        if now - self._looked_at >= _LOOK_AROUND:
            self._looked_at = now
            if self._spare_cores.since_last_time() >= self._most - _OTHERS:
                self._chooser.forgive()
