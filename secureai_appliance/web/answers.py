"""What a handler may give back; `web.responses` turns it into HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec


@dataclass
class Answer:
    """Bytes that are ready to be sent: a page, a file, an empty 204."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    """`Set-Cookie` headers: the one header that may be there several times."""


@dataclass
class Download:
    """A file that is made while it is sent. What fails after the first piece cuts the answer off."""

    pieces: Iterator[bytes]
    content_type: str
    filename: str


class EventSource(Protocol):
    """Where a stream's events come from. `web.sse` frames, pings and ends it."""

    def next(self, timeout: float) -> bytes | str | None:
        """The next event's JSON (bytes), a comment (str), or None when nothing came within `timeout` seconds.

        Raises StopIteration at the end, and Failure for what becomes the stream's one error event.
        """
        ...

    def close(self) -> None:
        """Called once, however the stream ended (also when the client hung up): free what it holds."""
        ...


@dataclass
class Stream:
    """A stream of server-sent events, always ended by `data: [DONE]`."""

    source: EventSource
    headers: dict[str, str] = field(default_factory=dict)
    id: str = ""
    """The completion's id (`resp-…`): what a repeated `Idempotency-Key` is told."""


Outcome = msgspec.Struct | Answer | Download | Stream | None
"""A struct becomes JSON with the route's status, None an empty 204."""
