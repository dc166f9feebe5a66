"""From a file to chunks that can be found: jobs that survive a crash, each document whole or not at all.

A worker leases some jobs, reads and cuts the files, embeds all of their chunks in one go (batches of like length keep
every core busy) and puts each document into its index in one transaction, with its words and vectors. A process that is
killed leaves leases behind, which the next start gives up: nothing was visible yet, so the job begins anew. A file that
ends the process time and again fails, and never holds up the next.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, NotFound, ServiceUnavailable
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.knowledge import embedding, jobs
from secureai_appliance.knowledge.extract.extracted import Unreadable
from secureai_appliance.knowledge.steps import Stopped, Tools, Work
from secureai_appliance.store import Store

if TYPE_CHECKING:
    from secureai_appliance.models.registry import Models

log = logging.getLogger(__name__)

WORKERS = 2
_IDLE_SECONDS = 5.0


class Ingest:
    """The workers. `work` does what there is to do next, in the calling thread; `start` has threads do it."""

    def __init__(self, store: Store, clock: Clock, models: Models, sealer: Sealer, folder: Path) -> None:
        """`folder` is for files that are being read."""
        self._store = store
        self._clock = clock
        self._models = models
        self._tools = Tools(store, sealer, folder, self.is_stopping)
        self._changed = threading.Condition()
        self._woken = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._live, name=f"ingest {number}", daemon=True) for number in range(WORKERS)
        ]

    def start(self) -> None:
        """Begin; leases of an earlier process are void."""
        jobs.void_leases(self._store)
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There is something new to do."""
        with self._changed:
            self._woken += 1
            self._changed.notify_all()

    def stop(self, timeout: float) -> bool:
        """End after the step that runs now; what is unfinished begins anew at the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        until = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def work(self) -> bool:
        """Take jobs, if there are any, and bring them to their end; whether there were."""
        claimed = jobs.claim(self._store, self._clock)
        if claimed is None:
            return False
        lease, target, tasks = claimed
        try:
            with embedding.embedder(self._store, self._models, target.embedding_model, self.is_stopping) as model:
                Work(self._tools, lease, target, model).do(tasks)
        except NotFound:
            gone = Unreadable("resource_limit", "The embedding model is not there any more.")
            jobs.fail_all(self._store, lease, target, tasks, gone)
        except Failure as failure:
            # the model or the store is not at hand now: the documents are not to blame
            log.info("documents wait: %s", failure.message)
            jobs.give_back(self._store, lease, later=True)
        except Stopped:
            jobs.give_back(self._store, lease, later=False)
        return True

    def _live(self) -> None:
        while not self._stopping:
            seen = self._woken
            try:
                if self.work():
                    continue
            except ServiceUnavailable as failure:
                log.warning("documents wait: %s", failure.message)
            except Exception:
                log.exception("a worker of documents failed")
            with self._changed:
                if not self._stopping and self._woken == seen:
                    self._changed.wait(_IDLE_SECONDS)

    def is_stopping(self) -> bool:
        """Whether the program is ending."""
        return self._stopping
