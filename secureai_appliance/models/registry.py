"""Which models are in memory: loaded on demand, each once, probed in a child process before the first time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, ServiceUnavailable, UnprocessableEntity
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import Kind, ModelRow, Status
from secureai_appliance.store import Store

log = logging.getLogger(__name__)

Loaded = Engine | Embedder

_FIRST_COOLDOWN = 5.0
_LONGEST_COOLDOWN = 300.0


@dataclass(frozen=True)
class Loader:
    """How a file becomes a model in memory. Tests put in their own.

    `build` names the engine's build, `probe` says why a file can't be used (None: it can), `load` reads it.
    """

    build: Callable[[], str]
    probe: Callable[[Path, Kind], str | None]
    load: Callable[[Path, Kind], Loaded]


class Handle:
    """One model's place in memory: empty, being filled, filled or failed. Safe to use from any thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._status: Status = "available"
        self._loaded: Loaded | None = None
        self._dead: Loaded | None = None
        self._failure: str | None = None
        self._retry_at = 0.0
        self._cooldown = _FIRST_COOLDOWN
        self._wanted = False

    @property
    def status(self) -> Status:
        with self._changed:
            # a model whose thread died is read again for the next request
            return "available" if self._loaded is not None and self._loaded.failed else self._status

    @property
    def failure(self) -> str | None:
        with self._changed:
            return self._failure

    @property
    def loaded(self) -> Loaded | None:
        """The model if it is in memory and well."""
        with self._changed:
            return None if self._loaded is None or self._loaded.failed else self._loaded

    def wait(self, timeout: float) -> Loaded | None:
        """The model, or None if it is still being read after `timeout` seconds.

        Raises ServiceUnavailable when reading failed, saying why and when it will be tried again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._status != "loading", timeout)
            if self._status == "failed":
                raise ServiceUnavailable(
                    f"The model '{self._name}' can't be loaded: {self._failure}",
                    code="model_failed",
                    retry_after=max(1, round(self._cooldown)),
                )
            if self._status == "available":
                raise ServiceUnavailable(f"The model '{self._name}' was taken out of memory.", retry_after=1)
            return self._loaded if self._status == "loaded" else None

    def begin(self, now: float, *, load: bool = True) -> bool:
        """Claim the loading of the model, or the probing; False when it is there, under way or cooling down.

        Who wants it loaded while it is only being probed is remembered: `rest` is then refused.
        """
        with self._changed:
            dead = self._loaded is not None and self._loaded.failed
            cooling = self._status == "failed" and now < self._retry_at
            if self._status == "loading":
                self._wanted = self._wanted or load
                return False
            if cooling or (self._status == "loaded" and not dead):
                return False
            self._status, self._wanted = "loading", load
            self._dead, self._loaded = self._loaded, None
            return True

    def bury(self) -> None:
        """Free a model whose thread died, before another takes its memory."""
        with self._changed:
            dead, self._dead = self._dead, None
        if dead is not None:
            dead.close(1.0)

    def rest(self) -> bool:
        """A probe ended well: leave the place empty. False when somebody waits, so that the model is to be read now."""
        with self._changed:
            if self._wanted:
                return False
            self._status, self._failure, self._cooldown = "available", None, _FIRST_COOLDOWN
            self._changed.notify_all()
            return True

    def succeed(self, loaded: Loaded) -> None:
        """Loading ended well."""
        with self._changed:
            self._status = "loaded"
            self._loaded, self._failure, self._cooldown = loaded, None, _FIRST_COOLDOWN
            self._changed.notify_all()

    def fail(self, reason: str, now: float) -> None:
        """Loading failed; it is tried again after a time that doubles up to five minutes."""
        with self._changed:
            self._status, self._failure = "failed", reason
            self._retry_at = now + self._cooldown
            self._cooldown = min(self._cooldown * 2, _LONGEST_COOLDOWN)
            self._changed.notify_all()

    def take(self) -> Loaded | None:
        """Empty the place, giving up what was in it."""
        with self._changed:
            loaded, self._loaded = self._loaded, None
            if self._status == "loaded":
                self._status = "available"
            return loaded


class Models:
    """The models in memory, by id."""

    def __init__(self, store: Store, clock: Clock, folder: Path, loader: Loader, context_length: int) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder
        self._loader = loader
        self._context_length = context_length
        self._handles: dict[str, Handle] = {}
        self._guard = threading.Lock()
        self._closed = False

    def chat(self, row: ModelRow) -> Handle:
        """The place of a chat model, which is being read from now on. Raises UnprocessableEntity for another kind."""
        if row.kind != "chat":
            raise UnprocessableEntity(
                f"The model '{row.name}' makes embeddings, not completions.", code="unsupported_model", param="model"
            )
        return self._open(row)

    def embedding(self, row: ModelRow) -> Handle:
        """The place of an embedding model, which is being read from now on. Raises UnprocessableEntity otherwise."""
        if row.kind != "embedding":
            raise UnprocessableEntity(
                f"The model '{row.name}' makes completions, not embeddings.", code="unsupported_model", param="model"
            )
        return self._open(row)

    def show(self, row: ModelRow) -> catalogue.Model:
        """The model as the API shows it."""
        handle = self._handle(row)
        status = handle.status
        if status == "available" and row.probed_build is None:
            status = "loading"  # it is about to be probed: until then nobody knows whether it can be used
        return catalogue.show(row, status, handle.failure or row.failure, self.context_length(row))

    def context_length(self, row: ModelRow) -> int:
        """Tokens that one request may use: the model's own bound or ours, whichever is less."""
        return min(row.context_length, self._context_length) if row.kind == "chat" else row.context_length

    def in_memory(self) -> dict[str, Loaded]:
        """What is loaded and well, by id."""
        with self._guard:
            handles = dict(self._handles)
        return {name: loaded for name, handle in handles.items() if (loaded := handle.loaded) is not None}

    def check(self) -> None:
        """Probe the models that no build was seen to run; called once after start, in a thread of its own."""
        try:
            with self._store.read() as db:
                unknown = [row for row in catalogue.all_models(db) if row.probed_build is None]
            for row in unknown:
                handle = self._handle(row)
                if handle.begin(self._clock.monotonic(), load=False):
                    self._fill(row, handle, load=False)
        except ServiceUnavailable as failure:
            # a stop, most often; whoever asks for a model that was not probed has it probed then
            log.warning("the models were not all checked: %s", failure.message)

    def close(self, timeout: float) -> None:
        """Cancel what runs and free every model within about `timeout` seconds."""
        with self._guard:
            self._closed = True
            handles = list(self._handles.values())
        for handle in handles:
            loaded = handle.take()
            if loaded is not None:
                loaded.close(timeout)

    def _open(self, row: ModelRow) -> Handle:
        handle = self._handle(row)
        if handle.loaded is None and handle.begin(self._clock.monotonic()):
            threading.Thread(
                target=self._fill, args=(row, handle), kwargs={"load": True}, name=f"load {row.id}", daemon=True
            ).start()
        return handle

    def _handle(self, row: ModelRow) -> Handle:
        with self._guard:
            if self._closed:
                raise ServiceUnavailable("The appliance is stopping.", retry_after=10)
            return self._handles.setdefault(row.id, Handle(row.id))

    def _fill(self, row: ModelRow, handle: Handle, *, load: bool) -> None:
        """Probe if need be, then read. Every way out ends the waiting of those who wait on `handle`."""
        try:
            handle.bury()
            self._probe_once(row)
            if not load and handle.rest():
                return
            loaded = self._loader.load(self._folder / row.file, row.kind)
        except LoadFailure as failure:
            log.warning("the model %s can't be loaded: %s", row.id, failure)
            handle.fail(str(failure), self._clock.monotonic())
        except Failure as failure:
            log.warning("the model %s can't be loaded: %s", row.id, failure.message)
            handle.fail(failure.message, self._clock.monotonic())
        except Exception:
            log.exception("loading the model %s failed", row.id)
            handle.fail("an internal error, which the log has in full", self._clock.monotonic())
        else:
            handle.succeed(loaded)
            with self._guard:
                closed = self._closed
            if closed and (late := handle.take()) is not None:
                late.close(1.0)

    def _probe_once(self, row: ModelRow) -> None:
        build = self._loader.build()
        with self._store.read() as db:
            known = catalogue.find(db, row.id).probed_build
        if known == build:
            return
        reason = self._loader.probe(self._folder / row.file, row.kind)
        with self._store.transaction() as tx:
            catalogue.remember_probe(tx, row.id, build if reason is None else None, reason)
        if reason is not None:
            raise LoadFailure(reason)
