"""`Idempotency-Key` on POST: the same key and body give the same answer, once done, for 24 hours and for one caller.

A change and its record commit in one transaction. What runs a model holds no transaction: that a key is running is
known to this process (the only one that serves), and the answer is recorded before it is sent. A stream is guarded, not
kept: a row `running` while it lasts and `done` without a body afterwards, both 409 with its id.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from secureai_appliance.core.errors import Conflict, ServiceUnavailable, UnprocessableEntity, ValidationError
from secureai_appliance.store import Reader, Store, Transaction
from secureai_appliance.web.responses import Reply

KEEP_SECONDS = 24 * 3600
MAX_BODY = 1024 * 1024
_SWEPT_AT_ONCE = 20
REPLAYED = "Idempotency-Replayed"
HEADER = "Idempotency-Key"
# of an answer's headers, those that belong to what was done; the others are made anew for each answer
_KEPT_HEADERS = ("Content-Type", "Location", "X-SecureAI-Ignored")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One request under an idempotency key."""

    caller: str
    key: str
    digest: bytes

    @property
    def place(self) -> tuple[str, str]:
        return self.caller, self.key


def attempt(environ: dict[str, Any], caller: str, body: bytes) -> Attempt | None:
    """The attempt that a request is, None without the header. Raises ValidationError for a key that is none."""
    key = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not (key.isascii() and key.isprintable()):
        raise ValidationError(
            f"The '{HEADER}' header must have 1 to 255 printable ASCII characters.", field=HEADER, constraint="format"
        )
    digest = hashlib.sha256()
    for part in (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    digest.update(body)
    return Attempt(caller, key, digest.digest())


def recorded(db: Reader, attempt: Attempt, now: int) -> Reply | None:
    """The answer to give again, None when there is none.

    Raises UnprocessableEntity when the key was used for something else, Conflict when its answer was or is a stream.
    """
    row = db.one(
        "SELECT request_hash, state, status, headers, body, resource_id FROM idempotency"
        " WHERE caller = ? AND key = ? AND created_at > ?",
        attempt.caller,
        attempt.key,
        now - KEEP_SECONDS,
    )
    if row is None:
        return None
    digest, state, status, headers, body, resource_id = row
    if digest != attempt.digest:
        raise _other_request()
    if state == "running":
        raise _running(resource_id)
    if status is None:
        raise Conflict(
            "The request with this idempotency key was answered with a stream, which is not kept.",
            constraint="idempotency",
            details={"id": resource_id},
        )
    return Reply(status, {**json.loads(headers), REPLAYED: "true"}, body or b"")


def record(tx: Transaction, attempt: Attempt, reply: Reply, secret_field: str = "") -> None:
    """Keep an answer, if it is one to keep (2xx, at most 1 MB), without its secret."""
    body = reply.body
    if not isinstance(body, bytes) or not 200 <= reply.status < 300 or len(body) > MAX_BODY:
        return
    if secret_field:
        body = _without(body, secret_field)
    kept = {name: reply.headers[name] for name in _KEPT_HEADERS if name in reply.headers}
    _insert(tx, attempt, "done", status=reply.status, headers=json.dumps(kept), body=body)


def forget_interrupted(tx: Transaction) -> None:
    """At start: streams that the last run did not end may be asked for again."""
    tx.run("DELETE FROM idempotency WHERE state = 'running'")


@dataclass
class _Taken:
    digest: bytes
    resource_id: str | None = None


class Running:
    """The keys at work in this process, for requests that hold no transaction. Safe to use from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._taken: dict[tuple[str, str], _Taken] = {}

    def begin(self, attempt: Attempt, now: int) -> Reply | None:
        """Take the key: None to go on (then call `answered` or `drop`), or the answer to give again.

        Raises Conflict while the same request runs, UnprocessableEntity when the key was used for something else.
        """
        with self._lock:
            other = self._taken.get(attempt.place)
            if other is None:
                self._taken[attempt.place] = _Taken(attempt.digest)
        if other is not None:
            raise _running(other.resource_id) if other.digest == attempt.digest else _other_request()
        # only now, with the key taken: whoever had it before has recorded the answer before giving the key up
        try:
            with self._store.read() as db:
                reply = recorded(db, attempt, now)
        except BaseException:
            self.drop(attempt)
            raise
        if reply is not None:
            self.drop(attempt)
        return reply

    def drop(self, attempt: Attempt) -> None:
        """Give the key up without an answer to keep: it may be used again."""
        with self._lock:
            self._taken.pop(attempt.place, None)

    def answered(self, attempt: Attempt, reply: Reply) -> None:
        """Keep the answer and give the key up."""
        try:
            self._write(lambda tx: record(tx, attempt, reply))
        finally:
            self.drop(attempt)

    def streaming(self, attempt: Attempt, resource_id: str) -> None:
        """A stream begins under this key."""
        try:
            with self._lock:
                self._taken[attempt.place].resource_id = resource_id
            self._write(lambda tx: _insert(tx, attempt, "running", resource_id=resource_id))
        except BaseException:
            self.drop(attempt)
            raise

    def streamed(self, attempt: Attempt) -> None:
        """That stream has ended."""
        try:
            self._write(
                lambda tx: tx.run(
                    "UPDATE idempotency SET state = 'done' WHERE caller = ? AND key = ?", attempt.caller, attempt.key
                )
            )
        finally:
            self.drop(attempt)

    def _write(self, change: Callable[[Transaction], object]) -> None:
        try:
            with self._store.transaction() as tx:
                change(tx)
        except ServiceUnavailable:
            # the model's work is done and changed nothing: better answered without a record than thrown away
            log.warning("an answer could not be kept for its idempotency key")


def sweep(tx: Transaction) -> bool:
    """Forget what is no longer kept, a little at a time; whether there is more."""
    # answers of up to 1 MB lie here: more go than come, yet never all at once
    gone = tx.run(
        "DELETE FROM idempotency WHERE rowid IN"
        " (SELECT rowid FROM idempotency WHERE created_at <= ? ORDER BY created_at LIMIT ?)",
        *(tx.now() - KEEP_SECONDS, _SWEPT_AT_ONCE),
    )
    return gone == _SWEPT_AT_ONCE


def _insert(
    tx: Transaction,
    attempt: Attempt,
    state: str,
    *,
    status: int | None = None,
    headers: str | None = None,
    body: bytes | None = None,
    resource_id: str | None = None,
) -> None:
    sweep(tx)
    tx.run(
        "INSERT OR REPLACE INTO idempotency (caller, key, request_hash, state, status, headers, body, resource_id,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(attempt.caller, attempt.key, attempt.digest, state, status, headers, body, resource_id, tx.now()),
    )


def _without(body: bytes, secret_field: str) -> bytes:
    answer = msgspec.json.decode(body)
    del answer[secret_field]
    answer["details"] = {"secret": "shown_once"}
    return msgspec.json.encode(answer)


def _running(resource_id: str | None) -> Conflict:
    return Conflict(
        "The request with this idempotency key is still running.",
        constraint="idempotency",
        details={"id": resource_id} if resource_id else None,
        retry_after=1,
    )


def _other_request() -> UnprocessableEntity:
    return UnprocessableEntity(
        "This idempotency key was used for another request.", field=HEADER, constraint="idempotency"
    )
