"""One model's place in memory."""

from __future__ import annotations

import threading

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.reranker import Reranker
from secureai_appliance.models.catalogue import Status

Loaded = Engine | Embedder | Reranker

_FIRST_COOLDOWN = 5.0
_LONGEST_COOLDOWN = 300.0
_NO_ROOM_RETRY_AFTER = 10


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
        self._refusal: str | None = None
        self._holds = 0
        self._used_at = 0.0

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
            if self._status == "available" and self._refusal is not None:
                raise ServiceUnavailable(self._refusal, code="model_memory", retry_after=_NO_ROOM_RETRY_AFTER)
            if self._status == "available":
                raise ServiceUnavailable(f"The model '{self._name}' was taken out of memory.", retry_after=1)
            return self._loaded if self._status == "loaded" else None

    def begin(self, now: float, *, load: bool = True, at_once: bool = False) -> bool:
        """Claim the loading of the model, or the probing; False when it is there, under way or cooling down.

        `at_once`: also while it cools down. Who wants it loaded while it is only being probed is remembered: `rest` is
        then refused.
        """
        with self._changed:
            dead = self._loaded is not None and self._loaded.failed
            cooling = self._status == "failed" and now < self._retry_at and not at_once
            if self._status == "loading":
                self._wanted = self._wanted or load
                return False
            if cooling or (self._status == "loaded" and not dead):
                return False
            self._status, self._wanted, self._refusal = "loading", load, None
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

    def succeed(self, loaded: Loaded, now: float) -> None:
        """Loading ended well."""
        with self._changed:
            self._status, self._used_at = "loaded", now
            self._loaded, self._failure, self._cooldown = loaded, None, _FIRST_COOLDOWN
            self._changed.notify_all()

    def fail(self, reason: str, now: float) -> None:
        """Loading failed; it is tried again after a time that doubles up to five minutes."""
        with self._changed:
            self._status, self._failure = "failed", reason
            self._retry_at = now + self._cooldown
            self._cooldown = min(self._cooldown * 2, _LONGEST_COOLDOWN)
            self._changed.notify_all()

    def refuse(self, reason: str) -> None:
        """There is no room for it at the moment, which says nothing about the model: the next request tries again."""
        with self._changed:
            self._status, self._refusal, self._failure = "available", reason, None
            self._changed.notify_all()

    def hold(self) -> None:
        """A request begins that uses the model: it stays in memory until as many have ended."""
        with self._changed:
            self._holds += 1

    def let_go(self, now: float) -> None:
        """That request has ended."""
        with self._changed:
            self._holds -= 1
            self._used_at = now

    @property
    def busy(self) -> bool:
        """Whether it is being read, or requests use it."""
        with self._changed:
            return self._status == "loading" or self._in_use()

    @property
    def idle_since(self) -> float | None:
        """When the last request ended (monotonic seconds); None while one runs, or when nothing is in memory."""
        with self._changed:
            return None if self._loaded is None or self._in_use() else self._used_at

    def take_if_idle(self) -> Loaded | None:
        """As `take`, but None when a request uses the model."""
        with self._changed:
            return None if self._in_use() else self.take()

    def _in_use(self) -> bool:
        if self._holds:
            return True
        if not isinstance(self._loaded, Engine) or self._loaded.failed:
            return False
        state = self._loaded.queue()
        return state.running + state.waiting > 0

    def take(self) -> Loaded | None:
        """Empty the place, giving up what was in it."""
        with self._changed:
            loaded, self._loaded = self._loaded, None
            if self._status == "loaded":
                self._status = "available"
            return loaded
