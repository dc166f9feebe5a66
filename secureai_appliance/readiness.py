"""Whether requests can be served, for `/readyz`: what is looked at, and how often."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.knowledge.following.watching import Watcher
from secureai_appliance.models import catalogue
from secureai_appliance.models.registry import Models
from secureai_appliance.scheduler.scheduler import Scheduler
from secureai_appliance.store import Store, upkeep
from secureai_appliance.web.parts import Check

_LOOK_SECONDS = 1.0
_LEAST_FREE_BYTES = 64 * 1024 * 1024


class Readiness:
    """What `look` found, looked at once a second at most: it writes to the disk, and anybody may ask."""

    def __init__(self, look: Callable[[], list[Check]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._found: list[Check] = []
        self._until = float("-inf")

    def __call__(self) -> list[Check]:
        with self._lock:
            if self._clock.monotonic() >= self._until:
                self._found = self._look()
                self._until = self._clock.monotonic() + _LOOK_SECONDS
            return self._found


def look(store: Store, folder: DataFolder, scheduler: Scheduler, models: Models, watcher: Watcher) -> list[Check]:
    """Every check, made now."""
    return [
        _check_store(store),
        _check_log(store),
        _check_disk(folder),
        _check_scheduler(scheduler),
        _check_default_model(store, models),
        _check_folders(watcher),
    ]


def _check_store(store: Store) -> Check:
    try:
        store.check_writable()
    except Failure as failure:
        return Check("store", ok=False, message=failure.message)
    return Check("store", ok=True)


def _check_log(store: Store) -> Check:
    length = upkeep.log_bytes(store)
    ok = length < upkeep.ALARM_LOG_BYTES
    return Check("log of the store", ok, "" if ok else f"It is {length >> 20} MB long: something reads for too long.")


def _check_scheduler(scheduler: Scheduler) -> Check:
    trouble = scheduler.trouble()
    return Check("scheduler", not trouble, trouble)


def _check_folders(watcher: Watcher) -> Check:
    # requests are served all the same
    silent = watcher.silent
    note = f"Watched folders whose file system does not answer: {silent}." if silent else ""
    return Check("watched folders", ok=True, message=note)


def _check_disk(folder: DataFolder) -> Check:
    free = shutil.disk_usage(folder.root).free
    ok = free >= _LEAST_FREE_BYTES
    return Check("disk", ok, "" if ok else f"Only {free // 2**20} MB are free on the disk of the data folder.")


def _check_default_model(store: Store, models: Models) -> Check:
    with store.read() as db:
        shown = models.show(catalogue.find(db, "default"))
    return Check("default model", shown.status != "failed", shown.failure or "")
