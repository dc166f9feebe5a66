"""The bundled models, and ways to drive an engine step by step."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.generation import Event, Finished, Generation, GenerationRequest, Text
from secureai_appliance.inference.sampling import Sampling

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"
CHAT = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDING = MODELS / "all-MiniLM-L6-v2.Q8_0.gguf"

GREEDY = Sampling(temperature=0)
PATIENCE = 60.0


def prompt(engine: Engine, text: str) -> list[int]:
    """The tokens of a chat of one message."""
    assert engine.template is not None
    return engine.vocabulary.tokenize_segments(engine.template.render([{"role": "user", "content": text}]))


def ask(
    engine: Engine,
    text: str = "Count.",
    *,
    max_tokens: int | None = 8,
    sampling: Sampling = GREEDY,
    stop: Sequence[str] = (),
) -> Generation:
    """Submit a chat of one message."""
    return engine.submit(GenerationRequest(prompt(engine, text), max_tokens, sampling, tuple(stop)))


def events(generation: Generation) -> list[Event]:
    """All events up to the last."""
    seen: list[Event] = []
    while not (seen and isinstance(seen[-1], Finished)):
        event = generation.next(PATIENCE)
        assert event is not None, "the engine said nothing for a minute"
        seen.append(event)
    return seen


def answer(generation: Generation) -> tuple[str, Finished]:
    """The whole text, and how it ended."""
    seen = events(generation)
    finished = seen[-1]
    assert isinstance(finished, Finished)
    return "".join(event.text for event in seen if isinstance(event, Text)), finished


class StepGate:
    """Holds an engine before each step until the test lets it go on."""

    def __init__(self, engine: Engine) -> None:
        assert engine._runner is not None
        self._context = engine._runner._context
        self._compute = self._context.decode
        self._permits = threading.Semaphore(0)
        self._open = False
        self.fail_with: int | Exception | None = None
        self._context.decode = self._decode  # type: ignore[method-assign]

    def allow(self, steps: int) -> None:
        """Let it compute that many steps."""
        self._permits.release(steps)

    def open(self) -> None:
        """Don't hold it any more."""
        self._open = True
        self._permits.release()

    def _decode(self) -> int:
        if not self._open:
            self._permits.acquire()
        failure, self.fail_with = self.fail_with, None
        if isinstance(failure, Exception):
            raise failure
        return self._compute() if failure is None else failure
