"""Which models are in memory: loaded on demand, each once, probed in a child process before the first time.

Together they take no more than a budget: the longest unused goes, never what a request uses, never a pinned one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Conflict, Failure, ServiceUnavailable, UnprocessableEntity
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.gguf import Kind
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.handle import Handle, Loaded
from secureai_appliance.models.remotes import Remotes
from secureai_appliance.models.room import NoRoom, Room
from secureai_appliance.store import Store

log = logging.getLogger(__name__)

__all__ = ["Handle", "Loaded", "Loader", "Models"]

_CLOSING_SECONDS = 5.0
_MADE: dict[Kind, str] = {"chat": "completions", "embedding": "embeddings", "rerank": "rankings"}


@dataclass(frozen=True)
class Loader:
    """How a file becomes a model in memory. Tests put in their own.

    `build` names the engine's build, `probe` says why a file can't be used (None: it can), `predict` how many
    bytes of memory it will take, `load` reads it.
    """

    build: Callable[[], str]
    probe: Callable[[Path, Kind], str | None]
    predict: Callable[[Path, ModelRow], int]
    load: Callable[[Path, ModelRow], Loaded]


def require_kind(row: ModelRow, kind: Kind) -> None:
    """Raise UnprocessableEntity for a model of another kind."""
    if row.kind != kind:
        raise UnprocessableEntity(
            f"The model '{row.name}' makes {_MADE[row.kind]}, not {_MADE[kind]}.",
            code="unsupported_model",
            param="model",
        )


class Models:
    """The models in memory, by id."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        folder: Path,
        loader: Loader,
        remotes: Remotes,
        *,
        context_length: int,
        memory: int,
        idle_seconds: float | None = None,
    ) -> None:
        """`memory`: bytes for all models together. After `idle_seconds` without a request a model is unloaded."""
        self._store = store
        self._clock = clock
        self._folder = folder
        self.loader = loader
        self.remotes = remotes
        self._context_length = context_length
        self._room = Room(memory)
        self._idle_seconds = idle_seconds
        self._handles: dict[str, Handle] = {}
        self._guard = threading.Lock()
        self._closed = False

    def chat(self, row: ModelRow) -> Handle:
        """The place of a chat model, which is being read from now on. Raises UnprocessableEntity for another kind."""
        require_kind(row, "chat")
        return self._open(row)

    def embedding(self, row: ModelRow) -> Handle:
        """The place of an embedding model, which is being read from now on. Raises UnprocessableEntity otherwise."""
        require_kind(row, "embedding")
        return self._open(row)

    def rerank(self, row: ModelRow) -> Handle:
        """The place of a rerank model, which is being read from now on. Raises UnprocessableEntity otherwise."""
        require_kind(row, "rerank")
        return self._open(row)

    def of_any_kind(self, row: ModelRow) -> Handle:
        """The place of a model, whatever it is for. Raises UnprocessableEntity for one that another server runs."""
        return self._open(row)

    def show(self, row: ModelRow) -> catalogue.Model:
        """The model as the API shows it."""
        if row.source == "remote":
            return catalogue.show(row, *self.remotes.state(row), row.context_length)
        handle = self._handle(row)
        status = handle.status
        if status == "available" and row.probed_build is None:
            status = "loading"  # it is about to be probed: until then nobody knows whether it can be used
        return catalogue.show(row, status, handle.failure or row.failure, self._tokens(row, handle.loaded))

    def show_to(self, caller: Caller, row: ModelRow) -> catalogue.Model:
        """The same for this caller: where a model runs and why it can't be used is for those who can change it."""
        shown = self.show(row)
        return shown if caller.may("models:write") else msgspec.structs.replace(shown, remote=None, failure=None)

    def _tokens(self, row: ModelRow, loaded: Loaded | None) -> int:
        """Tokens that one request may use: the model's own bound or ours, whichever is less."""
        if isinstance(loaded, Engine):
            return loaded.context_length  # settings that were changed since count from the next loading on
        if row.kind != "chat":
            return row.context_length
        return min(row.context_length, row.settings.context_length or self._context_length)

    @contextmanager
    def held(self, row: ModelRow) -> Iterator[None]:
        """While a request is at work: its model is not taken out of memory for another's sake."""
        handle = self._handle(row)
        handle.hold()
        try:
            yield
        finally:
            handle.let_go(self._clock.monotonic())

    def load(self, row: ModelRow) -> Handle:
        """Have a model read now, also when it failed a moment ago."""
        return self._open(row, at_once=True)

    def unload(self, row: ModelRow) -> None:
        """Take a model out of memory, if it is there. Raises Conflict while it is read or requests use it."""
        handle = self._handle(row)
        if not self._unload(row.id, handle):
            self.refuse_busy(row)

    def refuse_remote(self, row: ModelRow) -> None:
        """Raise UnprocessableEntity for a model that is not loaded here."""
        if row.source == "remote":
            raise UnprocessableEntity(
                f"The model '{row.id}' runs on another server, so that this can't be done here.",
                code="unsupported_model",
                param="model",
            )

    def refuse_busy(self, row: ModelRow) -> None:
        """Raise Conflict while the model is being read or requests use it."""
        if self._handle(row).busy:
            raise Conflict(f"The model '{row.id}' is in use: wait until its requests have ended.", constraint="busy")

    def forget(self, model_id: str) -> None:
        """The model is no more: what is still in memory goes, and what uses it is told."""
        self.remotes.forget(model_id)
        with self._guard:
            handle = self._handles.pop(model_id, None)
        if handle is not None and (loaded := handle.take()) is not None:
            loaded.close(_CLOSING_SECONDS)
        self._room.give_back(model_id)

    def unload_idle(self) -> None:
        """Take out of memory what was not used for `idle_seconds`; called every now and then."""
        if self._idle_seconds is None:
            return
        before = self._clock.monotonic() - self._idle_seconds
        for model_id, handle, since in self._removable():
            if since <= before and self._unload(model_id, handle):
                log.info("the model %s was not used for %.0f seconds and is unloaded", model_id, self._idle_seconds)

    def in_memory(self) -> dict[str, Loaded]:
        """What is loaded and well, by id."""
        with self._guard:
            handles = dict(self._handles)
        return {name: loaded for name, handle in handles.items() if (loaded := handle.loaded) is not None}

    def check(self) -> None:
        """Probe the models that no build was seen to run, load the pinned ones; once after start, in its own thread."""
        try:
            with self._store.read() as db:
                unknown = [row for row in catalogue.all_models(db) if row.file and row.probed_build is None]
            for row in unknown:
                handle = self._handle(row)
                if handle.begin(self._clock.monotonic(), load=False):
                    self._fill(row, handle, load=False)
            with self._store.read() as db:
                pinned = [row for row in catalogue.all_models(db) if row.pinned]
            for row in pinned:
                self._open(row)
        except ServiceUnavailable as failure:
            # a stop, most often; whoever asks for a model that was not probed has it probed then
            log.warning("the models were not all checked: %s", failure.message)

    def close(self, timeout: float) -> None:
        """Cancel what runs and free every model within about `timeout` seconds."""
        self.remotes.close()
        with self._guard:
            self._closed = True
            handles = list(self._handles.values())
        for handle in handles:
            loaded = handle.take()
            if loaded is not None:
                loaded.close(timeout)

    def _open(self, row: ModelRow, *, at_once: bool = False) -> Handle:
        self.refuse_remote(row)
        handle = self._handle(row)
        if handle.loaded is None and handle.begin(self._clock.monotonic(), at_once=at_once):
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
            loaded = self._read(row)
        except NoRoom as refusal:
            log.warning("%s", refusal.message)
            handle.refuse(refusal.message)
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
            handle.succeed(loaded, self._clock.monotonic())
            with self._guard:
                late = self._closed or self._handles.get(row.id) is not handle
            if late and (unwanted := handle.take()) is not None:
                unwanted.close(1.0)
                self._room.give_back(row.id)

    def _read(self, row: ModelRow) -> Loaded:
        path = self._folder / row.file
        self._room.take(row.id, self.loader.predict(path, row), self._make_room)
        try:
            return self.loader.load(path, row)
        except BaseException as failure:
            self._room.give_back(row.id)
            if isinstance(failure, LoadFailure):
                self._note_failure(row, str(failure))
            raise

    def _note_failure(self, row: ModelRow, reason: str) -> None:
        try:
            with self._store.transaction() as tx:
                catalogue.note_failure(tx, row.id, reason)
        except ServiceUnavailable as failure:
            log.warning("that %s can't be loaded could not be written to the audit log: %s", row.id, failure.message)

    def _make_room(self) -> bool:
        """Unload the model that was not used for longest; False when every one is in use, pinned or being read."""
        for model_id, handle, _ in self._removable():
            if self._unload(model_id, handle):
                log.info("the model %s is unloaded: another needs its memory", model_id)
                return True
        return False

    def _removable(self) -> list[tuple[str, Handle, float]]:
        """Loaded models that nobody uses and nobody pinned, with when they were used last; the longest ago first."""
        with self._store.read() as db:
            pinned = {row.id for row in catalogue.all_models(db) if row.pinned}
        with self._guard:
            handles = [(name, handle) for name, handle in self._handles.items() if name not in pinned]
        idle = [(name, handle, since) for name, handle in handles if (since := handle.idle_since) is not None]
        return sorted(idle, key=lambda candidate: candidate[2])

    def _unload(self, model_id: str, handle: Handle) -> bool:
        """False when it is not there, or a request came in between."""
        loaded = handle.take_if_idle()
        if loaded is None:
            return False
        if not loaded.close(_CLOSING_SECONDS):
            log.warning("the model %s has not given its memory back yet", model_id)
        self._room.give_back(model_id)
        return True

    def _probe_once(self, row: ModelRow) -> None:
        build = self.loader.build()
        with self._store.read() as db:
            known = catalogue.find(db, row.id).probed_build
        if known == build:
            return
        reason = self.loader.probe(self._folder / row.file, row.kind)
        with self._store.transaction() as tx:
            catalogue.remember_probe(tx, row.id, build if reason is None else None, reason)
        if reason is not None:
            raise LoadFailure(reason)
