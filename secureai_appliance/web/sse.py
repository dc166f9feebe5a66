"""Server-sent events: frames events, keeps a silent stream alive, notices a hang-up, always ends with [DONE]."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, InternalError, ServiceUnavailable
from secureai_appliance.web.answers import EventSource
from secureai_appliance.web.responses import error_json

POLL_SECONDS = 0.05
"""How long a source is waited for before the connection is looked at again: less than a decode step of most models."""
PING_SECONDS = 15.0
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

log = logging.getLogger(__name__)


class Ending(Enum):
    """How a stream ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    HUNG_UP = "hung_up"


@dataclass(frozen=True)
class Surroundings:
    """What a stream looks at besides its source."""

    request_id: str
    clock: Clock
    disconnected: Callable[[], bool]
    """Whether the client has hung up."""
    stopping: Callable[[], bool]
    """Whether the server is about to go and streams have to end."""
    failed: Callable[[str], None]
    """Told the type of the stream's one error."""


class EventStream:
    """The bytes of one stream. `close` belongs to the thread that iterates; it closes the source once."""

    def __init__(
        self, source: EventSource, around: Surroundings, ended: Callable[[Ending], None] = lambda _: None
    ) -> None:
        self._source = source
        self._around = around
        self._ended = ended
        self._open = True
        self._ending = Ending.HUNG_UP
        self._frames = self._run()

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        """Free what the source holds. Without effect the second time."""
        self._frames.close()
        # a generator that was never started runs no `finally`, so that this can't be left to it
        self._finish()

    def _run(self) -> Generator[bytes, None, None]:
        yield PING  # the first byte at once: the answer has begun, whatever the source has to wait for
        try:
            complete = yield from self._events()
            if not complete:
                return
            self._ending = Ending.COMPLETE
        except Failure as failure:
            yield self._error(failure)
        except Exception:
            # the status line is gone: a defect can only be told inside the stream
            log.exception("%s: defect inside a stream", self._around.request_id)
            yield self._error(InternalError("Something went wrong on our side."))
        # the source is freed before the last bytes are sent: the client may take its time to read them
        self._finish()
        yield DONE

    def _events(self) -> Generator[bytes, None, bool]:
        around = self._around
        last = around.clock.monotonic()
        while not around.disconnected():
            if around.stopping():
                raise ServiceUnavailable("The server is shutting down.", retry_after=10)
            try:
                event = self._source.next(POLL_SECONDS)
            except StopIteration:
                return True
            now = around.clock.monotonic()
            if event is not None:
                last = now
                yield frame(event)
            elif now - last >= PING_SECONDS:
                last = now
                yield PING
        return False

    def _error(self, failure: Failure) -> bytes:
        self._ending = Ending.FAILED
        self._finish()
        self._around.failed(failure.type)
        return frame(error_json(failure, self._around.request_id))

    def _finish(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            self._source.close()
        except Exception:
            # what is left of the answer must still be sent
            log.exception("%s: defect while a stream was closed", self._around.request_id)
        self._ended(self._ending)


def frame(event: bytes | str) -> bytes:
    """One event (JSON bytes) or comment (str) in the event stream format."""
    if isinstance(event, str):
        return b"".join(b": " + line.encode() + b"\n" for line in event.splitlines() or [""]) + b"\n"
    return b"".join(b"data: " + line + b"\n" for line in event.splitlines() or [b""]) + b"\n"
