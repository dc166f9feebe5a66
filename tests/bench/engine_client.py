"""A client for streamed chat completions that costs next to nothing: one thread, plain sockets.

While answers come it only stores bytes and when they arrived; they are read afterwards. With a thread for each stream
the client would want the very cores that it measures.
"""

from __future__ import annotations

import bisect
import json
import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 300.0  # seconds until a stream that has not ended has failed
_ROOM = 1 << 16


class BenchError(Exception):
    """A server answered with something else than a stream of tokens."""


@dataclass
class Target:
    """A server with `/chat/completions` below `base`."""

    name: str
    base: str
    key: str = "none"


@dataclass
class Job:
    """One request. It is sent `delay` seconds after the first of its run or, with `after`, when that many texts of the
    first job have come."""

    target: Target
    body: dict[str, Any]
    delay: float = 0.0
    after: int | None = None


@dataclass
class Stream:
    """One answer. `moments`: when each piece of text came, in seconds after it was asked; `asked` and `ended` on the
    monotonic clock. Tokens are the server's own count."""

    asked: float = 0.0
    ended: float = 0.0
    moments: list[float] = field(default_factory=list)
    text: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0

    @property
    def first(self) -> float:
        return self.moments[0]

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.moments, self.moments[1:], strict=False)]


@dataclass
class Run:
    """Streams that ran together. `seconds` from the first request to the last byte; `client_cpu` is what we used."""

    streams: list[Stream]
    seconds: float
    client_cpu: float

    @property
    def rate(self) -> float:
        """Tokens per second of all streams together."""
        return sum(stream.tokens for stream in self.streams) / self.seconds

    @property
    def gaps(self) -> list[float]:
        return [gap for stream in self.streams for gap in stream.gaps]


class _Connection:
    """The bytes of one answer, and when they came."""

    def __init__(self, job: Job) -> None:
        url = urlsplit(job.target.base)
        assert url.hostname is not None
        body = json.dumps({"stream": True, "stream_options": {"include_usage": True}, **job.body}).encode()
        head = (
            f"POST {url.path}/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {job.target.key}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.job = job
        self.data = bytearray()
        self.offsets: list[int] = []
        self.times: list[float] = []
        self.seen = 0
        self.socket = socket.create_connection((url.hostname, url.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.asked = time.monotonic()
        self.socket.sendall(head.encode() + body)
        self.socket.setblocking(False)

    def receive(self) -> bool:
        """Store what has come; False at the end."""
        part = self.socket.recv(_ROOM)
        if not part:
            self.socket.close()
            return False
        self.data += part
        self.seen += part.count(b"data: {")
        self.offsets.append(len(self.data))
        self.times.append(time.monotonic())
        return True

    def read(self) -> Stream:
        """Everything that can be told from the stored bytes. Raises BenchError."""
        head, _, _ = bytes(self.data).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"{self.job.target.name}: {bytes(self.data).decode(errors='replace')}")
        stream = Stream(asked=self.asked, ended=self.times[-1])
        text: list[str] = []
        chunked = b"transfer-encoding: chunked" in head.lower()
        for end, line in _lines(bytes(self.data), len(head) + 4, chunked):
            if line.startswith(b"data: {"):
                came = self.times[bisect.bisect_left(self.offsets, end)] - self.asked
                self._take(json.loads(line[6:]), came, stream, text)
        stream.text = "".join(text)
        if not stream.moments:
            raise BenchError(f"{self.job.target.name}: no text came.")
        return stream

    def _take(self, event: dict[str, Any], came: float, stream: Stream, text: list[str]) -> None:
        if "error" in event:
            raise BenchError(f"{self.job.target.name}: {event['error']}")
        if usage := event.get("usage"):
            stream.prompt_tokens, stream.tokens = usage["prompt_tokens"], usage["completion_tokens"]
            stream.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        for choice in event.get("choices", []):
            if content := choice["delta"].get("content"):
                stream.moments.append(came)
                text.append(content)


def _lines(data: bytes, start: int, chunked: bool) -> list[tuple[int, bytes]]:
    """The lines of a body, each with the offset in `data` where it ends."""
    lines: list[tuple[int, bytes]] = []
    rest = b""
    at = start
    while at < len(data):
        if chunked:
            size_end = data.index(b"\r\n", at)
            size = int(data[at:size_end], 16)
            begin, at = size_end + 2, size_end + 2 + size + 2
        else:
            begin, size, at = at, len(data) - at, len(data)
        *whole, rest = (rest + data[begin : begin + size]).split(b"\n")
        lines += [(min(begin + size, len(data)), line) for line in whole]
    return lines


def together(jobs: list[Job]) -> Run:
    """Run all jobs; returns when the last answer has ended. Raises BenchError."""
    selector = selectors.DefaultSelector()
    waiting = list(jobs)
    connections: dict[int, _Connection] = {}
    open_ = 0
    begun, cpu = time.monotonic(), time.process_time()
    while waiting or open_:
        now = time.monotonic() - begun
        if now > PATIENCE:
            raise BenchError(f"{jobs[0].target.name}: no end after {PATIENCE:g} s.")
        for job in [job for job in waiting if _due(job, now, connections.get(id(jobs[0])))]:
            waiting.remove(job)
            connection = connections[id(job)] = _Connection(job)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            open_ += 1
        delays = [job.delay - now for job in waiting if job.after is None]
        for key, _ in selector.select(min([1.0, *delays])):
            if not key.data.receive():
                selector.unregister(key.fileobj)
                open_ -= 1
    used = time.process_time() - cpu
    streams = [connections[id(job)].read() for job in jobs]
    end = max(stream.ended for stream in streams)
    return Run(streams, end - begun, used)


def _due(job: Job, now: float, first: _Connection | None) -> bool:
    if job.after is None:
        return now >= job.delay
    return first is not None and first.seen >= job.after


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
