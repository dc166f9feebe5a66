"""Composition root: builds every part once, in order, and takes them down again."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from secureai_appliance import __version__
from secureai_appliance.accounts import groups, keys, second_factors, sessions, sharing, users
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.accounts.second_factors import SecondFactors
from secureai_appliance.accounts.sign_ins import SignIns
from secureai_appliance.conversations import assistants, chats, prompts, turns
from secureai_appliance.conversations.titles import Titles
from secureai_appliance.conversations.toolbox import registry as tools
from secureai_appliance.conversations.toolbox.outside import Outside
from secureai_appliance.conversations.toolbox.registry import Registry
from secureai_appliance.conversations.toolbox.toolbox import Toolbox
from secureai_appliance.conversations.turns import Turns
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.core.network import AddressPolicy, Door, networks, parse_url
from secureai_appliance.governance import audit, limits, usage
from secureai_appliance.governance.addresses import Addresses
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.courier import Courier
from secureai_appliance.governance.ownership import Ownership
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.governance.refusals import Refusals
from secureai_appliance.governance.usage import Usage
from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.engine import Engine
from secureai_appliance.knowledge import bases, blobs, traces
from secureai_appliance.knowledge.following.watching import Watcher
from secureai_appliance.knowledge.ingest import Ingest
from secureai_appliance.models import catalogue, importing, uploads
from secureai_appliance.models.bundled import place_bundled
from secureai_appliance.models.loading import loader, memory_budget
from secureai_appliance.models.registry import Models
from secureai_appliance.models.remotes import Remotes
from secureai_appliance.models.uploads import Uploads
from secureai_appliance.opening import open_store
from secureai_appliance.readiness import Readiness, look
from secureai_appliance.scheduler.scheduler import Scheduler
from secureai_appliance.settings import Settings
from secureai_appliance.store import ServeLock, Transaction
from secureai_appliance.upkeep import DELIVERIES, jobs
from secureai_appliance.web import idempotency
from secureai_appliance.web.metrics import Metrics, QueueDepth
from secureai_appliance.web.parts import Parts
from secureai_appliance.web.server import Server, listen

log = logging.getLogger(__name__)

_ROOMS = (
    limits,
    usage,
    keys,
    sessions,
    second_factors,
    grants,
    groups,
    sharing,
    uploads,
    chats,
    bases,
    traces,
    prompts,
    tools,
    assistants,
)
OWNERSHIP = Ownership(owned for room in _ROOMS for owned in room.OWNED)
"""What belongs to users, as each room declares it; in this order it is made, so it goes in the opposite one."""

ADMIN_EMAIL = "admin@localhost"
_LOOK_AT_REMOTES_SECONDS = 10.0
GRACE_SECONDS = 8.0
"""For running requests. With the models and the file, which are closed after them, a stop takes about 10 s at most."""


@dataclass(frozen=True)
class FirstStart:
    """What the first start made and shows once: an API key and the token of a sign-in link, both the admin's."""

    key: str
    link_token: str


class Appliance:
    """A running appliance. `start` returns once requests are answered; `stop` once everything is down."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Build everything. Raises StartupError; nothing is left running then.

        1. The data folder and its lock, so that no second instance touches anything.
        2. The port, so that a taken one is found before the first key is made and shown.
        3. The master key, then the file, then the models.
        """
        self.settings = settings
        self._clock = clock
        self._data = settings.data_folder
        self._data.create()
        with ExitStack() as undo:
            self._lock = ServeLock(self._data.lock)
            self._lock.acquire()
            undo.callback(self._lock.release)
            self._socket = listen(settings.host, settings.port)
            undo.callback(self._socket.close)
            self._data.empty_tmp()
            _use_tmp(self._data.tmp)
            self.store, self.sealer = open_store(settings, clock, create=True)
            undo.callback(self.store.close)
            self._build()
            undo.pop_all()

    def _build(self) -> None:
        settings, clock = self.settings, self._clock
        self.configs = Configs(self.store, self.sealer)
        self.first_start = self._prepare()
        self.quotas = Quotas(self.store, self.configs, clock)
        self.door = Door(self._outbound)
        remotes = Remotes(
            *(self.store, self.sealer, clock, self.door),
            max_waiting=settings.max_waiting,
            max_wait=settings.max_wait,
        )
        self.usage = Usage(self.store, clock, lambda: self.configs.value("usage.prices"))
        self.cores = CoreBudget(settings.threads or None)
        self.models = Models(
            self.store,
            clock,
            self._data.models,
            loader(settings, self.cores),
            remotes,
            context_length=settings.context_length,
            memory=memory_budget(settings),
            idle_seconds=settings.idle_unload or None,
        )
        self.toolbox = self._toolbox()
        self.uploads = Uploads(self.store, self._data)
        self.turns = Turns(self.store, clock)
        self.ingest = Ingest(self.store, clock, self.models, self.sealer, self._data.tmp)
        self._metrics = Metrics()
        self._metrics.watch_queues(self._queues)
        self._refusals = Refusals()
        self._courier = Courier(self.store, self.sealer, clock, self.door, attempted=self._metrics.delivered)
        self._watcher = Watcher(self.store, clock, self.configs, self._data.root, self.ingest.wake)
        todo = jobs(
            store=self.store,
            clock=clock,
            configs=self.configs,
            quotas=self.quotas,
            usage=self.usage,
            refusals=self._refusals,
            models=self.models,
            titles=Titles(self.store, clock, self.models, lambda: self.configs.value("chats.titles_by_model")),
            uploads=self.uploads,
            courier=self._courier,
            watcher=self._watcher,
        )
        self._scheduler = Scheduler(self.store, clock, todo, self._metrics.worked)
        self._courier.free = partial(self._scheduler.wake, DELIVERIES)
        readiness = Readiness(partial(look, self.store, self._data, self._scheduler, self.models, self._watcher), clock)
        parts = Parts(
            settings=settings,
            data=self._data,
            clock=clock,
            store=self.store,
            sealer=self.sealer,
            sign_ins=SignIns(self.store, clock, self.sealer),
            second_factors=SecondFactors(self.sealer),
            ownership=OWNERSHIP,
            configs=self.configs,
            addresses=Addresses(clock),
            quotas=self.quotas,
            usage=self.usage,
            models=self.models,
            toolbox=self.toolbox,
            uploads=self.uploads,
            turns=self.turns,
            ingest=self.ingest,
            metrics=self._metrics,
            readiness=readiness,
            schedule=self._scheduler.states,
            refusals=self._refusals,
        )
        self._server = Server(parts, self._socket)
        self._stopping = threading.Event()
        self._minding = threading.Thread(target=self._mind_models, name="mind models", daemon=True)

    @property
    def address(self) -> str:
        """Where requests are answered, such as `http://127.0.0.1:8080`."""
        return self._server.address

    @property
    def failed(self) -> bool:
        """Whether requests are no longer answered because of an error."""
        return self._server.failed

    def start(self, ended: Callable[[], None] = lambda: None) -> None:
        """Answer requests from now on; models are probed meanwhile. `ended` is called when no more are answered."""
        self._server.start(ended)
        self._lock.note(self.address)
        self._minding.start()
        self._scheduler.start()
        self.ingest.start()
        log.info("serving on %s, data in %s", self.address, self._data.root)

    def stop(self) -> None:
        """Accept nothing new, let what runs end or end it, then close the models and the file; within about 10 s."""
        self._stopping.set()
        self._server.stop(GRACE_SECONDS)
        if not self.ingest.stop(timeout=1.0):
            log.warning("a document was still being read; the next start begins it anew")
        if not self._scheduler.stop(timeout=1.0):
            log.warning("a job of the scheduler did not end in time")
        if not self._watcher.stop(timeout=1.0):
            log.warning("a look at a watched folder did not end in time; it is made again at the next start")
        if not self._courier.stop(timeout=1.0):
            log.warning("a delivery to a webhook did not end in time; it is made again at the next start")
        self.models.close(timeout=2.0)
        self._write_counts()
        self._note_stop()
        self.store.close()
        self._lock.release()
        log.info("stopped")

    def _note_stop(self) -> None:
        self._refusals.flush(self.store, self._clock.now(), unfinished=True)
        try:
            with self.store.transaction() as tx:
                audit.record(tx, SYSTEM, "system.stopped", "system")
        except ServiceUnavailable as failure:
            log.warning("the stop could not be written to the audit log: %s", failure.message)

    def _prepare(self) -> FirstStart | None:
        """Upkeep before anything is answered; on an empty file also the first administrator."""
        bundled = place_bundled(self._data, progress=_log_copy)
        with self.store.transaction() as tx:
            idempotency.forget_interrupted(tx)
            turns.sweep(tx)
            sessions.sweep(tx, sessions.lifetimes(self.configs))
            second_factors.sweep(tx)
            for model in bundled:
                catalogue.register(tx, model)
            first_start = _first_start(tx)
            audit.record(tx, SYSTEM, "system.started", "system", details={"version": __version__})
        importing.sweep(self.store, self._data)
        while blobs.sweep(self.store, all_unfinished=True):
            pass
        return first_start

    def _mind_models(self) -> None:
        # not the scheduler's: a probe, or a server that does not answer, takes seconds
        self.models.check()
        while not self._stopping.wait(_LOOK_AT_REMOTES_SECONDS):
            try:
                self.models.remotes.check_due()
            except ServiceUnavailable as failure:
                log.warning("remote models could not be looked at: %s", failure.message)

    def _write_counts(self) -> None:
        try:
            self.quotas.persist()
            self.usage.flush()
        except ServiceUnavailable as failure:
            log.warning("what was counted could not be written: %s", failure.message)

    def _outbound(self) -> AddressPolicy:
        """What the settings say now."""
        values = self.configs.values()
        return AddressPolicy(
            values["outbound.private"], networks(values["outbound.allow"]), networks(values["outbound.deny"])
        )

    def _toolbox(self) -> Toolbox:
        port = int(self._socket.getsockname()[1])
        own = [(host, port) for host in (self.settings.host, "localhost", "127.0.0.1", "::1")]
        if self.settings.public_url:
            public = parse_url(self.settings.public_url)
            own.append((public.host, public.port))
        outside = Outside(self.configs.values, own)
        registry = Registry(self.sealer, outside)
        return Toolbox(self.store, self.models, registry, outside, values=self.configs.values, clock=self._clock)

    def _queues(self) -> Iterator[QueueDepth]:
        for name, loaded in self.models.in_memory().items():
            if isinstance(loaded, Engine):
                state = loaded.queue()
                yield QueueDepth(name, state.running, state.waiting)


def _first_start(tx: Transaction) -> FirstStart | None:
    if tx.value("SELECT EXISTS (SELECT 1 FROM users)"):
        return None
    # the first administrator is not held back by limits that only an administrator could lift
    admin = users.create(tx, email=ADMIN_EMAIL, name="Administrator", role="admin", tier="enterprise")
    caller = users.caller_of(tx, admin.id, command="serve")
    created = keys.create(tx, caller, KeyCreate(name="first key"))
    return FirstStart(created.key, sessions.create_link(tx, admin.id))


def _use_tmp(folder: Path) -> None:
    # temporary files of every library stay in the data folder: they may hold pieces of documents
    os.environ["TMPDIR"] = os.environ["SQLITE_TMPDIR"] = str(folder)
    # whoever asked before has made Python remember another folder
    tempfile.tempdir = str(folder)


def _log_copy(model: str, done: int, total: int) -> None:
    log.info("putting the model %s into the data folder: %d of %d MB", model, done // 10**6, total // 10**6)
