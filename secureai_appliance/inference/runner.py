"""The loop of one engine: who runs, one step after another, who has ended.

One thread runs `Runner.run` and alone touches the context. Others submit, cancel and look, under the lock of `changed`,
which that thread gives up while a step is computed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.inference.chunks import ChunkSizer
from secureai_appliance.inference.context import Context
from secureai_appliance.inference.core_budget import ChatShare
from secureai_appliance.inference.fairness import Ledger, Room, victims, yields_cells
from secureai_appliance.inference.generation import FinishReason, Generation, GenerationRequest, Queued, Started
from secureai_appliance.inference.library import Library
from secureai_appliance.inference.limits import Limits, QueueState
from secureai_appliance.inference.prefixes import Prefixes, RetentionBudget
from secureai_appliance.inference.sampling import Sampler
from secureai_appliance.inference.sequence import Sequence
from secureai_appliance.inference.step import Work, first, plan, reading, unheard, urgent
from secureai_appliance.inference.step_threads import StepThreads
from secureai_appliance.inference.tokens import Vocabulary
from secureai_appliance.inference.waiting import Pace, WaitingList, estimates, retry_after

_log = logging.getLogger(__name__)

# cells are reserved in steps of this many tokens: most clients name no `max_tokens`, and few answers are long
GROWTH = 256
# seconds after which those who wait get a new estimate
_TELL_EVERY = 0.5


@dataclass(frozen=True)
class Parts:
    """Of a loaded model: what the loop works with."""

    library: Library
    vocabulary: Vocabulary
    context: Context
    prefixes: Prefixes


class Runner:
    """Sequences, and the context that they share."""

    def __init__(self, model: Parts, limits: Limits, clock: Clock, cores: ChatShare) -> None:
        self.changed = threading.Condition()
        self.failed = False
        self._library = model.library
        self._vocabulary = model.vocabulary
        self._context = model.context
        self._prefixes = model.prefixes
        self._retention = RetentionBudget()
        self._limits = limits
        self._clock = clock
        self._ledger = Ledger()
        self._waiting = WaitingList(limits.max_waiting, self._ledger)
        self._running: list[Sequence] = []
        self._closing = False
        self._steps = 0
        self._arrivals = 0
        self._pace = Pace()
        self._chunks = ChunkSizer(limits.alone_chunk)
        self._told_at = clock.monotonic()
        self._threads = StepThreads(*limits.threads, cores, self._told_at)

    # --- for any thread

    def submit(self, request: GenerationRequest, limit: int) -> Generation:
        """Queue a request that may sample up to `limit` tokens. Raises ServiceUnavailable."""
        with self.changed:
            if self._closing or self.failed:
                raise ServiceUnavailable("The model is being unloaded; try again.", retry_after=1)
            if self._waiting.full(request.fairness_key, self._free_slots()):
                raise ServiceUnavailable(
                    f"The model is busy: {len(self._waiting)} requests are waiting.",
                    retry_after=retry_after(self._etas()[-1]),
                )
            generation = Generation(self.wake)
            self._ledger.arrive(request.fairness_key, {s.key for s in [*self._running, *self._waiting]})
            self._arrivals += 1
            now = self._clock.monotonic()
            self._waiting.add(Sequence(generation, request, limit, self._arrivals, now, list(request.prompt)))
            if len(self._waiting) > self._free_slots():
                self._tell_positions()
            self.changed.notify_all()
        return generation

    def wake(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def stop(self) -> None:
        """End everything as cancelled; `run` returns after the step that is being computed."""
        with self.changed:
            self._closing = True
            self.changed.notify_all()

    def state(self) -> QueueState:
        with self.changed:
            return self._state()

    def wait_until(self, wanted: Callable[[QueueState], bool], timeout: float) -> bool:
        """Wait for a state, looked at after each step and each change; False after `timeout` seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: wanted(self._state()), timeout)

    # --- for the engine's thread

    def run(self) -> None:
        """Until `stop`. However it ends, every generation has had its last event then."""
        reason: FinishReason = "cancelled"
        try:
            while self._prepare():
                self._step()
        except Exception:  # noqa: BLE001 - logged, and every caller is told below
            _log.exception("The engine failed")
            reason = "error"
        self._threads.idle()
        with self.changed:
            self.failed = reason == "error"
            self._closing = True
            for sequence in [*self._running, *self._waiting.take(lambda _: True)]:
                self._end(sequence, reason, self._failure() if self.failed else None)
            self.changed.notify_all()

    def _prepare(self) -> bool:
        """Wait until there is something to compute; False when it is time to go."""
        with self.changed:
            while not self._closing:
                self._sweep()
                self._admit()
                self._grow_all()
                self._follow()
                if self._running:
                    self._prefixes.trim(min(self._kv_free(), self._retention.beside(len(self._running))))
                    return True
                self._threads.idle()
                self.changed.wait()
            return False

    def _sweep(self) -> None:
        """Let go of those who were cancelled or have waited too long."""
        for sequence in [s for s in self._running if s.generation.cancelled]:
            self._end(sequence, "cancelled")
        for sequence in self._waiting.take(lambda s: s.generation.cancelled):
            self._end(sequence, "cancelled")
        latest = self._clock.monotonic() - self._limits.max_wait_seconds
        for sequence in self._waiting.take(lambda s: not s.started and s.submitted_at < latest):
            error = ServiceUnavailable(
                f"The model is busy: the request waited for more than {self._limits.max_wait_seconds:g} seconds.",
                retry_after=retry_after(self._etas()[-1]),
            )
            self._end(sequence, "error", error)

    def _admit(self) -> None:
        """Start those who may. Once one has to wait for room, only those get any whose share others hold."""
        blocked = False
        heads = deque(self._waiting.heads())
        while heads:
            sequence = heads.popleft()
            need = len(sequence.tokens) + min(sequence.remaining, GROWTH)
            if blocked or self._free_slots() == 0 or need > self._kv_free():
                pausing = victims(self._running, self._waiting, sequence, need, self._room(blocked))
                if pausing is None:
                    blocked = True
                    continue
                for victim in pausing:
                    self._pause(victim)
            self._waiting.remove(sequence)
            self._start(sequence, need)
            heads = deque(self._waiting.heads())
        now = self._clock.monotonic()
        news = any(sequence.generation.waiting is None for sequence in self._waiting)
        if news or now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._tell_positions()

    def _start(self, sequence: Sequence, reserved: int) -> None:
        if not self._running and sequence.seeded:
            self._prefixes.forget_all()  # so that it finds the same cells each time
        sequence.slot = self._prefixes.take_number()
        sequence.reserved = reserved
        sequence.generation.waiting = None
        self._running.append(sequence)
        self._find_cells(sequence)
        if not sequence.started:
            sequence.started, sequence.started_at = True, self._clock.monotonic()
            sequence.sampler = self._make_sampler(sequence)
            sequence.generation.publish(Started(sequence.prompt_length, sequence.cached))
        self.changed.notify_all()

    def _find_cells(self, sequence: Sequence) -> None:
        """Take the cells that are there already. A seed asks for the same text again, which reuse would change."""
        if sequence.seeded and not sequence.started:
            return
        match = self._prefixes.find(sequence, self._running)
        if match is None:
            return
        if isinstance(match.source, Sequence) and not match.ready:
            sequence.following = (match.source, match.length)
            return
        self._prefixes.share(match, sequence.slot)
        sequence.take_cells(match.length)

    def _follow(self) -> None:
        """Give cells to those for whom another has computed them; look again for those whom it has left."""
        for sequence in self._running:
            if sequence.following is None:
                continue
            leader, length = sequence.following
            if leader not in self._running or leader.computed >= length:
                sequence.following = None
                self._find_cells(sequence)

    def _grow_all(self) -> None:
        """Reserve cells for what this step adds. When none are left, the newest make room, and are recomputed later."""
        for sequence in sorted(self._running, key=lambda s: s.arrival):
            while sequence in self._running and len(sequence.tokens) > sequence.reserved:
                more = min(self._kv_free(), GROWTH, sequence.remaining)
                if more > 0:
                    sequence.reserved += more
                else:
                    self._pause(yields_cells(self._running, self._limits.kv_tokens))

    def _pause(self, sequence: Sequence) -> None:
        self._leave(sequence, keep=True)
        self._waiting.add(sequence)

    def _step(self) -> None:
        context = self._context
        self._threads.begin_step()
        prompts = reading(self._running, self._ledger.served)
        depth = prompts[0].computed if prompts else 0
        near = urgent(self._running, prompts)
        work = self._plan(prompts, depth, near)
        context.batch.reset()
        outputs: list[tuple[Sequence, int]] = []
        for item in work:
            sequence = item.sequence
            tokens = sequence.tokens[sequence.computed : sequence.computed + item.count]
            index = context.batch.add(sequence.slot, tokens, sequence.computed, output=item.samples)
            if item.samples:
                outputs.append((sequence, index))
        code, seconds, threads = self._compute(hurried=near > 0)
        decoding = sum(item.sequence.decoding for item in work)
        self._chunks.observe(decoding, context.batch.size - decoding, seconds, depth, threads)
        if code != 0:
            self._abandon(work, code)
            return
        for item in work:
            item.sequence.computed += item.count
            self._ledger.charge(item.sequence.key, item.count, item.sequence.request.weight)
        # all are sampled before anything is published: whoever hears of a token wants the interpreter at once, which
        # must not lie between this step and the next
        sampled = [(sequence, self._sample(sequence, index)) for sequence, index in outputs]
        ended = [
            (sequence, reason) for sequence, token in sampled if (reason := sequence.accept(token, self._vocabulary))
        ]
        if decoding:
            self._pace.observe_step(seconds)
        with self.changed:
            self._steps += 1
            for sequence, reason in ended:
                self._end(sequence, reason)
            self.changed.notify_all()

    def _plan(self, prompts: list[Sequence], depth: int, near: int) -> list[Work]:
        """What the next step computes. `depth`: where the first of `prompts` stands; `near`: as `urgent` says."""
        if near and not self._limits.mixed_chunk:
            decoding = sum(sequence.decoding for sequence in self._running)
            if self._chunks.goes_first(decoding, depth, self._threads.choose(near, urgent=True), near):
                return first(prompts)
        return plan(self._running, prompts, self._chunk(prompts, depth, near))

    def _chunk(self, prompts: list[Sequence], depth: int, near: int) -> int:
        """Prompt tokens of the next step, of which the first stands at `depth`."""
        decoding = sum(sequence.decoding for sequence in self._running)
        if decoding and self._limits.mixed_chunk:
            return self._limits.mixed_chunk
        if self._repeatable() and not decoding:
            return self._limits.alone_chunk
        most = unheard(self._running, prompts) if near else self._limits.alone_chunk
        # how many threads a step gets depends on its size, and what it costs on them
        sizes = {
            threads: min(most, self._chunks.size(decoding, depth, threads, urgent=near))
            for threads in self._threads.counts()
        }
        chosen = {size: self._threads.choose(decoding + size, urgent=near > 0) for size in sizes.values()}
        fitting = [size for threads, size in sizes.items() if chosen[size] == threads]
        return max(fitting, default=min(sizes.values()))

    def _compute(self, *, hurried: bool) -> tuple[int, float, int]:
        """Decode the batch; llama.cpp's code, how long it took, and on how many threads."""
        tokens = self._context.batch.size
        threads = self._limits.fixed_threads if self._repeatable() else self._threads.choose(tokens, urgent=hurried)
        self._threads.take(threads)
        self._context.set_threads(threads)
        begun = self._clock.monotonic()
        code = self._context.decode()
        now = self._clock.monotonic()
        self._threads.observe(tokens, threads, now - begun, now)
        if all(sequence.decoding for sequence in self._running):
            cells = self._prefixes.cells + sum(sequence.computed for sequence in self._running)
            self._retention.observe(tokens, threads, cells, now - begun)
        return code, now - begun, threads

    def _repeatable(self) -> bool:
        """Whether the step is one of a seeded request that runs alone: chunks and threads change the logits."""
        return len(self._running) == 1 and self._running[0].seeded

    def _sample(self, sequence: Sequence, index: int) -> int:
        assert sequence.sampler is not None
        return sequence.sampler.sample(self._context.pointer, index)

    def _make_sampler(self, sequence: Sequence) -> Sampler:
        request = sequence.request
        return Sampler(
            self._library,
            self._vocabulary,
            request.sampling,
            memory=self._limits.context_length,
            grammar=request.grammar,
            trigger=request.grammar_after,
            alternatives=request.logprobs,
        )

    def _abandon(self, work: list[Work], code: int) -> None:
        """A step failed: those in it end, the others are computed again, because no cell can be trusted."""
        _log.error("llama_decode returned %d for %d sequences", code, len(work))
        with self.changed:
            self._steps += 1
            self._prefixes.forget_all()
            for sequence in self._running:
                sequence.computed, sequence.following = 0, None
            for item in work:
                self._end(item.sequence, "error", self._failure())
            self.changed.notify_all()

    def _end(self, sequence: Sequence, reason: FinishReason, error: ServiceUnavailable | None = None) -> None:
        if sequence in self._running:
            if reason in ("stop", "length"):
                self._pace.observe_answer(sequence.sampled, self._clock.monotonic() - sequence.started_at)
            self._leave(sequence, keep=bool(sequence.reuse_key))
        sequence.finish(reason, error)
        self.changed.notify_all()

    def _leave(self, sequence: Sequence, *, keep: bool) -> None:
        self._running.remove(sequence)
        self._prefixes.leave(sequence, keep=keep)
        sequence.give_up_slot()

    # --- figures; the lock is held

    def _free_slots(self) -> int:
        return self._limits.slots - len(self._running)

    def _kv_free(self) -> int:
        return self._limits.kv_tokens - sum(sequence.reserved for sequence in self._running)

    def _room(self, blocked: bool) -> Room:
        """What there is to share; when one waits for what is free, that is not for those after it."""
        limits = self._limits
        free = (0, 0) if blocked else (self._free_slots(), self._kv_free())
        return Room(limits.slots, limits.kv_tokens, *free)

    def _etas(self) -> list[float]:
        """When those who wait will start, in their order, and when one would who came now."""
        running = [self._pace.holds(sequence.sampled, sequence.remaining) for sequence in self._running]
        waiting = [self._pace.holds(sequence.sampled, sequence.remaining) for sequence in self._waiting.in_order()]
        return estimates(running, waiting, self._limits.slots)

    def _tell_positions(self) -> None:
        for position, (sequence, eta) in enumerate(zip(self._waiting.in_order(), self._etas(), strict=False), start=1):
            queued = Queued(position, eta)
            first_time = sequence.generation.waiting is None and not sequence.started
            sequence.generation.waiting = queued
            if first_time:
                sequence.generation.publish(queued)

    def _state(self) -> QueueState:
        reserved = self._limits.kv_tokens - self._kv_free()
        return QueueState(len(self._running), len(self._waiting), self._limits.slots, self._steps, reserved)

    @staticmethod
    def _failure() -> ServiceUnavailable:
        return ServiceUnavailable("The model failed while it was answering; try again.", retry_after=1)
