"""An engine of a test's own, and waiting for it to come to a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.inference.limits import QueueState
from tests.support.clock import FakeClock
from tests.support.models import CHAT, PATIENCE, StepGate


@contextmanager
def engine_of(options: EngineOptions, clock: FakeClock | None = None) -> Iterator[Engine]:
    """The bundled chat model on one thread; an answer goes on until it is stopped, whatever the model says."""
    engine = Engine(CHAT, replace(options, threads=1), clock)
    engine.vocabulary._ends = frozenset()
    try:
        yield engine
    finally:
        _release(engine)
        assert engine.close(PATIENCE)


def settled(engine: Engine, wanted: Callable[[QueueState], bool]) -> None:
    """Wait for a state of the queue."""
    assert engine.wait_until(wanted, PATIENCE), engine.queue()


def idle(state: QueueState) -> bool:
    """Nothing runs, waits or holds cells."""
    return (state.running, state.waiting, state.kv_tokens) == (0, 0, 0)


def _release(engine: Engine) -> None:
    """Let a held engine run out: closing cancels the rest."""
    assert engine._runner is not None
    engine._runner.stop()
    decode = engine._runner._context.decode
    gate = getattr(decode, "__self__", None)
    if isinstance(gate, StepGate):
        gate.open()
