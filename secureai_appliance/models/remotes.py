"""Requests to remote models: so many at once for each, the others wait in order; what they answer, piece by piece."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, InternalError, ServiceUnavailable
from secureai_appliance.core.network import Call, Cancelled, Door, NetworkError, TimedOut, Timeouts
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.models import catalogue, remote
from secureai_appliance.models.catalogue import ModelRow, Status
from secureai_appliance.models.hops import Hops
from secureai_appliance.models.remote import Access, RemoteCreate, RemotePatch
from secureai_appliance.models.remote_errors import failure_of_event, failure_of_status
from secureai_appliance.store import Store, Transaction

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
_MAX_EVENT = 8 * 1024 * 1024
_MAX_ERROR = 64 * 1024
STREAM_TIMEOUTS = Timeouts(connect=5, read=120, total=None)
WHOLE_TIMEOUTS = Timeouts(connect=5, read=600, total=600)
_CHECK_TIMEOUTS = Timeouts(connect=3, read=5, total=8)
_CHECK_SECONDS = 30.0
_RETRY_AFTER = 10

TheirCount = Annotated[int, Meta(ge=0, le=1_000_000_000)]
"""Tokens as another server counts them: what it says is added up for years, in columns of 64 bits."""


class Ticket:
    """A place in the queue of a server, and then one of its slots."""

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.joined = time.monotonic()


class Slots:
    """So many requests at once, in the order in which they came. Safe to use from any thread."""

    def __init__(self, size: int, max_waiting: int) -> None:
        self.size = size
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._running: set[Ticket] = set()
        self._waiting: deque[Ticket] = deque()
        self._seconds = 0.0

    def join(self) -> Ticket:
        """Raises ServiceUnavailable when too many wait."""
        with self._lock:
            if len(self._running) >= self.size and len(self._waiting) >= self._max_waiting:
                raise ServiceUnavailable(
                    f"{len(self._waiting)} requests wait for the model already.", retry_after=max(1, self._eta(1))
                )
            ticket = Ticket()
            self._waiting.append(ticket)
            self._admit()
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up the slot or the place. More than once is harmless."""
        with self._lock:
            if ticket in self._running:
                self._running.remove(ticket)
                taken = time.monotonic() - ticket.joined
                self._seconds = taken if not self._seconds else 0.8 * self._seconds + 0.2 * taken
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            self._admit()

    def place(self, ticket: Ticket) -> tuple[int, int] | None:
        """Position from 1 and an estimate in seconds; None once it is its turn."""
        with self._lock:
            if ticket not in self._waiting:
                return None
            position = self._waiting.index(ticket) + 1
            return position, self._eta(position)

    def count(self) -> tuple[int, int]:
        """Running and waiting."""
        with self._lock:
            return len(self._running), len(self._waiting)

    def _eta(self, position: int) -> int:
        return round(self._seconds * -(-position // self.size))

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self.size:
            ticket = self._waiting.popleft()
            ticket.joined = time.monotonic()
            self._running.add(ticket)
            ticket.turn.set()


class Exchange:
    """One request at a remote server, worked on by a thread of its own.

    `next` from one thread: the whole body, or the data of one server-sent event after another. `close` from any.
    """

    def __init__(self, name: str, slots: Slots, call: Call, *, stream: bool, max_wait: float) -> None:
        self._name = name
        self._slots = slots
        self._call = call
        self._stream = stream
        self._max_wait = max_wait
        self._told: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._ticket = slots.join()

    def start(self, ended: Callable[[Exchange, NetworkError | None], None]) -> None:
        """`ended` is told once it is over, with what was wrong with the connection."""
        threading.Thread(target=self._run, args=(ended,), name=f"remote {self._name}", daemon=True).start()

    @property
    def place(self) -> tuple[int, int] | None:
        """Position and seconds, while it waits."""
        return self._slots.place(self._ticket)

    def next(self, timeout: float) -> bytes | None:
        """More of the answer; None when nothing came in time. Raises StopIteration at the end, or a Failure."""
        try:
            item = self._told.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """End it wherever it stands; the other server sees a hang-up. More than once is harmless."""
        self._closed.set()
        self._ticket.turn.set()
        self._call.cancel()

    def _run(self, ended: Callable[[Exchange, NetworkError | None], None]) -> None:
        wrong: NetworkError | None = None
        last: Exception = StopIteration()
        try:
            self._work()
        except Cancelled:
            pass
        except NetworkError as cause:
            log.warning("the remote model %s: %s", self._name, cause.message)
            wrong, last = cause, self._unavailable(cause)
        except Failure as failure:
            last = failure
        except Exception:
            log.exception("a request to the remote model %s failed", self._name)
            last = InternalError("Something went wrong on our side.")
        finally:
            self._call.close()
            self._slots.leave(self._ticket)
            ended(self, wrong)
            self._told.put(last)

    def _work(self) -> None:
        if not self._ticket.turn.wait(self._max_wait):
            raise ServiceUnavailable(
                f"The request waited {self._max_wait:g} seconds for the model '{self._name}'.", retry_after=_RETRY_AFTER
            )
        if self._closed.is_set():
            return
        status = self._call.open()
        if not 200 <= status < 300:
            raise failure_of_status(self._name, status, self._call.headers, self._short())
        if self._stream:
            self._events()
        else:
            self._told.put(b"".join(self._call))

    def _short(self) -> bytes:
        """The beginning of an error's body."""
        body = b""
        for piece in self._call:
            body += piece
            if len(body) > _MAX_ERROR:
                break
        return body[:_MAX_ERROR]

    def _events(self) -> None:
        if "text/event-stream" not in self._call.headers.get("content-type", ""):
            raise _broken(self._name, "does not stream")
        rest = b""
        for piece in self._call:
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _MAX_EVENT:
                raise garbled(self._name)
            for line in lines:
                field, _, data = line.rstrip(b"\r").partition(b":")
                data = data.strip()
                if field != b"data" or not data:
                    continue
                if data == b"[DONE]":
                    return
                if (failure := failure_of_event(self._name, data)) is not None:
                    raise failure
                self._told.put(data)
        raise _broken(self._name, "broke off in the middle of its answer")

    def _unavailable(self, cause: NetworkError) -> ServiceUnavailable:
        what = "does not answer in time" if isinstance(cause, TimedOut) else "can't be reached, or broke off"
        return _broken(self._name, what)


def garbled(name: str) -> ServiceUnavailable:
    """The failure for an answer that is not what OpenAI-compatible servers answer."""
    return _broken(name, "answers something that can't be understood")


def _broken(name: str, what: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"The server of the remote model '{name}' {what}.", code="remote_unavailable", retry_after=_RETRY_AFTER
    )


class _Server:
    """What is known of one remote model's server."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.status: Status = "loading"
        self.failure: str | None = None
        self.checked_at = float("-inf")


class Remotes:
    """The remote models at work, by id."""

    def __init__(
        self, store: Store, sealer: Sealer, clock: Clock, door: Door, *, max_waiting: int, max_wait: float
    ) -> None:
        """`max_waiting` requests wait for each, up to `max_wait` seconds."""
        self._store = store
        self.sealer = sealer
        self._clock = clock
        self._door = door
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}
        self._exchanges: set[Exchange] = set()
        self._hops = Hops()
        self._closed = False

    def ask(
        self, row: ModelRow, path: str, make: Callable[[str], dict[str, Any]], *, stream: bool, via: str
    ) -> Exchange:
        """POST to `path` below the base URL; `make` gives the body for the name that the model has there.

        `via`: that header of the request that is sent on. Raises ServiceUnavailable when too many wait,
        UnprocessableEntity when the request has been here before.
        """
        onward = self._hops.onward(via)
        access = self._access(row)
        body = msgspec.json.encode(make(access.model))
        headers = {**access.headers, "Content-Type": "application/json"}
        headers["Via"] = onward
        headers["Accept"] = "text/event-stream" if stream else "application/json"
        timeouts = STREAM_TIMEOUTS if stream else WHOLE_TIMEOUTS
        url = access.base_url + path
        call = self._door.stream("POST", url, headers=headers, body=body, timeouts=timeouts, max_bytes=MAX_BYTES)
        server = self._server(row.id, access.slots)
        with self._lock:
            if self._closed:
                raise ServiceUnavailable("The appliance is stopping.", retry_after=_RETRY_AFTER)
            exchange = Exchange(row.id, server.slots, call, stream=stream, max_wait=self._max_wait)
            self._exchanges.add(exchange)

        def ended(which: Exchange, wrong: NetworkError | None) -> None:
            with self._lock:
                self._exchanges.discard(which)
            if wrong is not None:
                server.status, server.failure = "failed", wrong.message
                server.checked_at = float("-inf")

        exchange.start(ended)
        return exchange

    def add(self, tx: Transaction, actor: Actor, model_id: str, body: RemoteCreate, aliases: list[str]) -> ModelRow:
        """Enter a remote model. Raises Conflict for a name that is taken, ValidationError."""
        catalogue.add_remote(tx, model_id, body.kind, body.context_length, aliases)
        remote.insert(tx, self.sealer, model_id, body)
        audit.record(tx, actor, "model.added", "model", model_id, details={"source": "remote"})
        return catalogue.find(tx, model_id)

    def change(self, tx: Transaction, actor: Actor, row: ModelRow, body: RemotePatch) -> ModelRow:
        """Change where a remote model is; it is checked anew soon. Raises ValidationError."""
        remote.change(tx, self.sealer, row.id, body)
        self.forget(row.id)
        audit.record(tx, actor, "model.moved", "model", row.id, details={"source": "remote"})
        return catalogue.find(tx, row.id)

    def state(self, row: ModelRow) -> tuple[Status, str | None]:
        """What is known of the model: `loading` until its server was asked for the first time."""
        with self._lock:
            server = self._servers.get(row.id)
            return ("loading", None) if server is None else (server.status, server.failure)

    def queue(self, row: ModelRow) -> tuple[int, int, int]:
        """Running, waiting, slots."""
        server = self._server(row.id, self._access(row).slots)
        return (*server.slots.count(), server.slots.size)

    def check(self, row: ModelRow) -> None:
        """Ask the server for its models and remember what came of it."""
        access = self._access(row)
        server = self._server(row.id, access.slots)
        failure = self._look(access)
        with self._lock:
            server.status, server.failure = ("available", None) if failure is None else ("failed", failure)
            server.checked_at = self._clock.monotonic()

    def check_due(self) -> None:
        """Check those that were not for half a minute; called every now and then."""
        with self._store.read() as db:
            rows = [row for row in catalogue.all_models(db) if row.remote is not None]
        for row in rows:
            with self._lock:
                server = self._servers.get(row.id)
            if server is None or server.checked_at <= self._clock.monotonic() - _CHECK_SECONDS:
                self.check(row)

    def forget(self, model_id: str) -> None:
        """The model is no more, or is somewhere else now."""
        with self._lock:
            self._servers.pop(model_id, None)

    def close(self) -> None:
        """End what runs."""
        with self._lock:
            self._closed = True
            running = list(self._exchanges)
        for exchange in running:
            exchange.close()

    def _access(self, row: ModelRow) -> Access:
        with self._store.read() as db:
            access = remote.access(db, self.sealer, row.id)
        if access is None:
            raise ServiceUnavailable(f"The model '{row.id}' was removed.", retry_after=1)
        return access

    def _server(self, model_id: str, slots: int) -> _Server:
        with self._lock:
            server = self._servers.get(model_id)
            if server is None or server.slots.size != slots:
                server = self._servers[model_id] = _Server(Slots(slots, self._max_waiting))
            return server

    def _look(self, access: Access) -> str | None:
        """Why the server can't be used; None: it can."""
        try:
            answer = self._door.request(
                "GET",
                access.base_url + "/models",
                headers=access.headers,
                timeouts=_CHECK_TIMEOUTS,
                max_bytes=MAX_BYTES,
            )
        except NetworkError as cause:
            return cause.message
        if answer.status in {401, 403}:
            return f"The server refuses the key ({answer.status})."
        if answer.status in {404, 405}:
            return None  # it has no list of its models; requests will show
        if answer.status != 200:
            return f"The server answers {answer.status} when it is asked for its models."
        try:
            listed = {entry.id for entry in msgspec.json.decode(answer.body, type=_List).data}
        except msgspec.MsgspecError:
            return "The server's list of models can't be understood."
        if access.model in listed:
            return None
        return f"The server has no model '{access.model}'; it lists: {', '.join(sorted(listed))[:500] or 'none'}."


class _Entry(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Entry]
