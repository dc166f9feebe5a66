"""A loaded chat model: a thread that owns its context, a waiting list, and slots that share each step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secureai_appliance.core.clock import Clock, SystemClock
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.inference.context import MAX_SEQUENCES, Context, ContextOptions
from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.cores import usable_cores
from secureai_appliance.inference.generation import Generation, GenerationRequest
from secureai_appliance.inference.gguf import GgufInfo
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.limits import Limits, QueueState
from secureai_appliance.inference.memory import available_memory, predict, require_memory
from secureai_appliance.inference.model import LoadedModel, describe_model
from secureai_appliance.inference.prefixes import Prefixes
from secureai_appliance.inference.runner import Parts, Runner
from secureai_appliance.inference.stops import StopMatcher
from secureai_appliance.inference.template import ChatTemplate
from secureai_appliance.inference.tokens import Vocabulary

DEFAULT_CONTEXT = 8_192


@dataclass(frozen=True)
class EngineOptions:
    """How a model is loaded.

    `context_length`: tokens that one request may use, prompt and answer; None: what the model was trained for, at most
    8,192. `kv_tokens`: tokens of all running requests together; None: twice that. `slots`: requests that run at once.
    `max_waiting`: requests that may wait beyond them, each for up to `max_wait_seconds`; users with few of them get in
    beyond that, up to twice as many. `threads`: None: as many as are fastest at the moment, at most one per core.
    `prompt_chunk`: prompt tokens in a step at most; `mixed_chunk`: beside running answers, None: so many that these
    keep their pace. `kept`: ended or paused requests whose cells are kept at most, for prompts that begin alike.
    """

    context_length: int | None = None
    kv_tokens: int | None = None
    slots: int = 8
    max_waiting: int = 64
    max_wait_seconds: float = 300
    threads: int | None = None
    prompt_chunk: int = 128
    mixed_chunk: int | None = None
    gpu_layers: int = 0
    kept: int = 16


class Engine:
    """One loaded model. Every method may be called from any thread."""

    fingerprint: str
    vocabulary: Vocabulary
    template: ChatTemplate | None
    context_length: int

    def __init__(
        self,
        path: Path,
        options: EngineOptions | None = None,
        clock: Clock | None = None,
        cores: CoreBudget | None = None,
    ) -> None:
        """Load the model; blocks until it can answer. `cores` None: it has them all. Raises LoadFailure."""
        self._options = options or EngineOptions()
        self._cores = cores or CoreBudget(self._options.threads)
        self._clock = clock or SystemClock()
        self._runner: Runner | None = None
        self._refusal: Exception | None = None
        ready = threading.Event()
        self._thread = threading.Thread(target=self._main, args=(path, ready), name=f"engine {path.stem}", daemon=True)
        self._thread.start()
        ready.wait()
        if self._refusal is not None:
            self._thread.join()
            raise self._refusal

    @property
    def failed(self) -> bool:
        """Whether it must be loaded again: its thread has ended by an error. All its generations were told."""
        return self._loaded.failed

    def submit(self, request: GenerationRequest) -> Generation:
        """Queue a request; returns at once.

        Raises ValidationError for a request that can never run (`code` "context_length_exceeded" with both counts in
        `details` when the prompt is too long), ServiceUnavailable with `retry_after` when too many wait.
        """
        self._check(request)
        room = self.context_length - len(request.prompt)
        limit = room if request.max_tokens is None else min(room, request.max_tokens)
        return self._loaded.submit(request, limit)

    def queue(self) -> QueueState:
        """How many run and wait now."""
        return self._loaded.state()

    def wait_until(self, wanted: Callable[[QueueState], bool], timeout: float) -> bool:
        """Wait for a state of the queue, looked at after every step; False after `timeout` seconds."""
        return self._loaded.wait_until(wanted, timeout)

    def close(self, timeout: float = 10) -> bool:
        """Cancel everything and free the model. False when the current step didn't end within `timeout` seconds."""
        self._loaded.stop()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def _loaded(self) -> Runner:
        assert self._runner is not None
        return self._runner

    def too_long(self, count: int) -> ValidationError:
        """The error for a prompt of `count` tokens, which is more than fits."""
        return ValidationError(
            f"The prompt has {count} tokens; together with the answer this model reads {self.context_length}.",
            constraint="context_length",
            code="context_length_exceeded",
            details={"prompt_tokens": count, "context_length": self.context_length},
        )

    def _check(self, request: GenerationRequest) -> None:
        count = len(request.prompt)
        if count == 0:
            raise ValidationError("The prompt is empty.", constraint="min_length")
        if count >= self.context_length:
            raise self.too_long(count)
        if request.max_tokens is not None and request.max_tokens < 1:
            raise ValidationError("The 'max_tokens' field must be at least 1.", field="max_tokens", constraint="min")
        try:
            self.vocabulary.check(request.prompt)
            StopMatcher(request.stop)
        except ValueError as cause:
            raise ValidationError(str(cause)) from cause

    def _main(self, path: Path, ready: threading.Event) -> None:
        try:
            model, context, runner = self._load(path)
        except Exception as refusal:  # noqa: BLE001 - raised again by the constructor, on the caller's thread
            self._refusal = refusal
            ready.set()
            return
        self._runner = runner
        ready.set()
        runner.run()
        context.close()
        model.close()

    def _load(self, path: Path) -> tuple[LoadedModel, Context, Runner]:
        info = describe_model(path)
        if info.kind != "chat":
            raise LoadFailure("The model makes embeddings; it can't write text.")
        limits = self._limits(info)
        batch = limits.alone_chunk + limits.slots
        outputs = limits.slots + self._options.kept  # llama.cpp wants room for one of each sequence
        require_memory(predict(info, limits.kv_tokens, batch, outputs), available_memory())
        model = LoadedModel(path, gpu_layers=self._options.gpu_layers)
        try:
            vocabulary = Vocabulary(model)
            template = _template(info, vocabulary)
            context, prefixes = self._memory(model, limits, batch)
        except Exception:
            model.close()
            raise
        self.vocabulary = vocabulary
        self.template = template
        self.context_length = limits.context_length
        self.fingerprint = f"{model.library.build}-{info.fingerprint}"
        parts = Parts(model.library, vocabulary, context, prefixes)
        return model, context, Runner(parts, limits, self._clock, self._cores.chat())

    def _memory(self, model: LoadedModel, limits: Limits, batch: int) -> tuple[Context, Prefixes]:
        # a recurrent model has a state of full size for each number of a sequence, so none is kept
        kept = 0 if model.recurrent else min(self._options.kept, MAX_SEQUENCES - limits.slots)
        numbers = limits.slots + kept
        options = ContextOptions(limits.kv_tokens, batch, numbers, limits.fixed_threads)
        context = Context(model, options)
        return context, Prefixes(context, numbers, limits.slots, whole=model.sliding_window)

    def _limits(self, info: GgufInfo) -> Limits:
        options = self._options
        trained = info.context_length or DEFAULT_CONTEXT
        context_length = min(options.context_length or DEFAULT_CONTEXT, trained)
        return Limits(
            context_length=context_length,
            kv_tokens=max(options.kv_tokens or 2 * context_length, context_length),
            slots=options.slots,
            alone_chunk=options.prompt_chunk,
            mixed_chunk=options.mixed_chunk,
            max_waiting=options.max_waiting,
            max_wait_seconds=options.max_wait_seconds,
            threads=(options.threads or 1, options.threads or usable_cores()),
            # half of the cores: a figure that never changes must also be bearable when something else runs
            fixed_threads=options.threads or max(1, usable_cores() // 2),
        )


def _template(info: GgufInfo, vocabulary: Vocabulary) -> ChatTemplate | None:
    if info.chat_template is None:
        return None
    try:
        return ChatTemplate(info.chat_template, vocabulary.bos_text, vocabulary.eos_text, vocabulary.control_texts)
    except ValueError as cause:
        raise LoadFailure(str(cause)) from cause
