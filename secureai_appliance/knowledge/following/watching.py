"""Following folders: which is due, and a thread that looks at one after the other.

A file system whose server is away may answer after hours, or never, and nothing can end the thread that asks it. So
the thread is left to itself then and another one takes the folders that are left: a folder that doesn't answer holds up
nothing else, is not looked at by two, and goes on where it was once it answers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.governance.configs import Configs
from secureai_appliance.knowledge.following.folders import NO_ANSWER
from secureai_appliance.knowledge.following.looks import Look, Tools
from secureai_appliance.store import Store

log = logging.getLogger(__name__)

THREAD = "watched folders"
LEFT_AFTER = 5.0
"""Seconds without an answer after which another thread looks at the other folders."""
SILENT_AFTER = 30.0
"""Seconds without an answer after which that is the folder's problem."""


@dataclass(eq=False)
class _Round:
    """A thread that looks at folders.

    `folder` (base and path) and `look` are what is under way, `answered` is when a file system last answered.
    """

    folder: tuple[str, str] = ("", "")
    look: Look | None = None
    answered: float = 0.0
    is_left: bool = False
    is_silent: bool = False


class Watcher:
    """Has the folders looked at. `step` is a job of the scheduler; `work` looks in the calling thread."""

    def __init__(
        self, store: Store, clock: Clock, configs: Configs, data: Path, arrived: Callable[[], None] = lambda: None
    ) -> None:
        """`data` is the appliance's own folder; `arrived` is called when there is something to be read."""
        self._store = store
        self._clock = clock
        self._configs = configs
        self._tools = Tools(store, configs, data, arrived)
        self._lock = threading.Lock()
        self._rounds: list[_Round] = []
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._stopping = False

    @property
    def silent(self) -> int:
        """How many folders don't answer."""
        with self._lock:
            return sum(each.is_silent for each in self._rounds)

    def step(self) -> None:
        """See to it that what is due is looked at, and say which folders don't answer. Raises what ended a round."""
        now = self._clock.monotonic()
        with self._lock:
            failure, self._failure = self._failure, None
            late = [each for each in self._rounds if each.look is not None and now - each.answered >= LEFT_AFTER]
            for each in late:
                each.is_left = True
            is_free = not self._stopping and all(each.is_left for each in self._rounds)
        for each in late:
            look = each.look
            if look is None or now - each.answered < SILENT_AFTER:
                continue
            was_silent, each.is_silent = each.is_silent, look.is_wanted()
            if each.is_silent and not was_silent:
                look.tell(NO_ANSWER)
        if failure is not None:
            raise failure
        if is_free and self._due() is not None:
            self._begin()

    def work(self) -> bool:
        """Look at the folder that is due for longest, in the calling thread; whether there was one."""
        alone = _Round()
        with self._lock:
            self._rounds.append(alone)
        try:
            return self._look(alone)
        finally:
            with self._lock:
                self._rounds.remove(alone)

    def stop(self, timeout: float) -> bool:
        """End after the piece of work that is done now; a folder that doesn't answer is not waited for."""
        self._stopping = True
        with self._lock:
            thread = None if all(each.is_left for each in self._rounds) else self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _begin(self) -> None:
        begun = _Round()
        with self._lock:
            self._rounds.append(begun)
        self._thread = threading.Thread(target=self._go_round, args=(begun,), name=THREAD, daemon=True)
        self._thread.start()

    def _go_round(self, round_: _Round) -> None:
        try:
            while not self._stopping and not round_.is_left and self._look(round_):
                pass
        except Exception as failure:  # noqa: BLE001 (the scheduler says it, and tries again later)
            if not (self._stopping and isinstance(failure, ServiceUnavailable)):
                self._failure = failure
        finally:
            with self._lock:
                self._rounds.remove(round_)

    def _look(self, round_: _Round) -> bool:
        with self._lock:
            base_id, _ = round_.folder = self._due() or ("", "")
        if not base_id:
            return False
        try:
            with self._store.transaction() as tx:
                # it waits anew from now on
                tx.run("UPDATE knowledge_folders SET looked_at = ? WHERE base_id = ?", int(self._clock.now()), base_id)
            look = Look(self._tools, base_id)
            round_.answered, round_.look = self._clock.monotonic(), look
            for _ in look.run():
                round_.answered, round_.is_silent = self._clock.monotonic(), False
                if self._stopping:
                    break
        finally:
            round_.folder, round_.look, round_.is_silent = ("", ""), None, False
        return True

    def _due(self) -> tuple[str, str] | None:
        """Base and path of what has waited longest, if that is long enough, and is not being looked at.

        A base that has another folder by now does not wait for the first one to answer.
        """
        now = int(self._clock.now())
        query = (
            "SELECT base_id, path FROM knowledge_folders WHERE (looked_at <= ? OR looked_at > ?)"
            " AND json_array(base_id, path) NOT IN (SELECT value FROM json_each(?)) ORDER BY looked_at, row_id LIMIT 1"
        )
        looked_at = msgspec.json.encode([each.folder for each in self._rounds]).decode()
        with self._store.read() as db:
            return db.one(query, now - self._configs.value("knowledge.folder_seconds"), now, looked_at)
