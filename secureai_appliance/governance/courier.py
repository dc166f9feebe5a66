"""The courier: makes the attempts. The scheduler's thread hands out what is due, a pool of threads sends it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import NotFound, ServiceUnavailable
from secureai_appliance.core.network import Call, Cancelled, Door, NetworkError, Timeouts
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import deliveries, webhooks
from secureai_appliance.governance.deliveries import SHOWN_BYTES, Due, Outcome
from secureai_appliance.governance.signatures import signed
from secureai_appliance.store import Store

WORKERS = 8
MOST_FAILING = 4
"""Places for webhooks that are failing: however many hang, the healthy ones keep the rest."""
TIMEOUTS = Timeouts(connect=5.0, read=15.0, total=15.0)
READ_BYTES = 64 * 1024
"""Of an answer; what is beyond is not read."""
_REST_SECONDS = 30.0
"""Until a webhook is tried again whose last outcome could not be stored: what it has got comes once more."""

log = logging.getLogger(__name__)


class Courier:
    """Delivers. One attempt at a time for each webhook. Safe to use from any thread."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        clock: Clock,
        door: Door,
        *,
        timeouts: Timeouts = TIMEOUTS,
        attempted: Callable[[bool], None] = lambda well: None,
    ) -> None:
        """`attempted` hears of each attempt: whether it went well."""
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._door = door
        self._timeouts = timeouts
        self._attempted = attempted
        self._pool = ThreadPoolExecutor(WORKERS, "deliveries")
        self._lock = threading.Lock()
        self._running: dict[str, _Attempt] = {}
        self._resting: dict[str, float] = {}
        self._stopping = False
        self.free: Callable[[], None] = lambda: None
        """Called when an attempt has ended: `step` may find more to do."""

    def step(self) -> None:
        """Begin an attempt of whatever is due, as far as there are places. Raises ServiceUnavailable."""
        with self._lock:
            now = self._clock.now()
            self._resting = {name: until for name, until in self._resting.items() if until > self._clock.monotonic()}
            places = WORKERS - len(self._running)
            for_failing = MOST_FAILING - sum(attempt.due.failing for attempt in self._running.values())
            busy = self._running.keys() | self._resting.keys()
        if places <= 0:
            return
        with self._store.read() as db:
            found = deliveries.due(db, now, busy)
        for one in found:
            if places <= 0 or (one.failing and for_failing <= 0):
                continue
            places -= 1
            for_failing -= one.failing
            self._begin(one)

    def stop(self, timeout: float) -> bool:
        """End what runs; it is tried again at the next start. Whether all had ended within `timeout` seconds."""
        with self._lock:
            self._stopping = True
            running = list(self._running.values())
        for attempt in running:
            attempt.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not wait([attempt.future for attempt in running if attempt.future is not None], timeout).not_done

    def _begin(self, due: Due) -> None:
        with self._lock:
            if self._stopping:
                return
            attempt = self._running[due.webhook_id] = _Attempt(due)
            future = attempt.future = self._pool.submit(self._run, attempt)
        # not with the lock held: what has ended already calls back at once
        future.add_done_callback(partial(self._ended, due.webhook_id))

    def _ended(self, webhook_id: str, future: Future[None]) -> None:
        failure = None if future.cancelled() else future.exception()
        with self._lock:
            del self._running[webhook_id]
            if failure is not None:
                self._resting[webhook_id] = self._clock.monotonic() + _REST_SECONDS
        if isinstance(failure, ServiceUnavailable):
            log.warning("the outcome of a delivery could not be stored, it will be made again: %s", failure.message)
        elif failure is not None:
            log.error("a delivery failed by a defect", exc_info=failure)
        self.free()

    def _run(self, attempt: _Attempt) -> None:
        try:
            outcome = self._try(attempt)
        except (Cancelled, NotFound):
            return  # the program ends, or the webhook is gone
        self._attempted(outcome.well)
        with self._store.transaction() as tx:
            deliveries.settle(tx, attempt.due, outcome)

    def _try(self, attempt: _Attempt) -> Outcome:
        """One attempt. Raises Cancelled, NotFound."""
        due, started, began = attempt.due, self._clock.now(), self._clock.monotonic()
        with self._store.read() as db:
            secrets = webhooks.secrets(db, self._sealer, due.webhook_id, started)
        headers = {"Content-Type": "application/json", **signed(secrets, due.event_id, due.body, int(started))}
        try:
            call = attempt.call = self._door.stream(
                "POST", due.url, headers=headers, body=due.body, timeouts=self._timeouts, max_bytes=READ_BYTES
            )
            if self._stopping:
                call.cancel()
            with call:
                response = _answer(call)
            status, retry_after, error = call.status, call.headers.get("Retry-After"), None
        except Cancelled:
            raise
        except NetworkError as failure:
            status, retry_after, error, response = None, None, failure.message, ""
        ms = round((self._clock.monotonic() - began) * 1000)
        return Outcome(started, ms, status, error, response, retry_after)


class _Attempt:
    """What runs in one of the threads."""

    def __init__(self, due: Due) -> None:
        self.due = due
        self.call: Call | None = None
        self.future: Future[None] | None = None

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()


def _answer(call: Call) -> str:
    """The beginning of the answer. Its status alone counts: a body that is endless, slow or cut off changes nothing."""
    body = b""
    try:
        call.open()
        for piece in call:
            body += piece
    except NetworkError:
        if not call.status:
            raise
    return body[:SHOWN_BYTES].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
