"""One connection: waitress' channel and parser, stricter, with time-outs, and with our shape for what they refuse."""

from __future__ import annotations

import logging
import socket
import time
from functools import lru_cache
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error, build_http_date

from secureai_appliance.core.errors import (
    Failure,
    HeadersTooLarge,
    InternalError,
    NotImplementedMethod,
    PayloadTooLarge,
    RequestTimeout,
    ServiceUnavailable,
    ValidationError,
)
from secureai_appliance.web.hosts import counted_as

HEADER_SECONDS = 10.0
"""From the first byte of a request to the end of its headers, and the grace for its body."""
BODY_BYTES_PER_SECOND = 8 * 1024
"""A body that comes more slowly than this, after the grace, is given up."""
STALL_SECONDS = 20.0
"""A client that reads nothing of an answer for so long is given up; its request ends as after a hang-up."""
LINGER_SECONDS = 2.0
_LONGEST_CHUNK_LINE = 1024
_LONGEST_TRAILER = 16 * 1024
_RETRY_AFTER = 5

log = logging.getLogger(__name__)


class _TooSlow(Error):  # type: ignore[misc]
    code = 408
    reason = "Request Timeout"


class _TooMuchAtOnce(Error):  # type: ignore[misc]
    code = 503
    reason = "Service Unavailable"


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses what two servers could read in two ways, and what would make the loop slow."""

    completed: bool

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if not self.completed and self.chunked:
            receiver = self.body_rcv
            # both are copied with each piece that arrives
            if len(receiver.control_line) > _LONGEST_CHUNK_LINE or len(receiver.trailer) > _LONGEST_TRAILER:
                self.error = BadRequest("chunk")
                self.completed = True
        if self.completed:
            # waitress would go on to ask for the body of a request that has none or is refused
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as cause:  # int() and urlsplit() on what a client made up
            raise ParsingError("number or address") from cause
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("two lengths")


class RefusalTask(ErrorTask):  # type: ignore[misc]
    """Answers what never became a request, in the one shape."""

    def execute(self) -> None:
        channel, request = self.channel, self.request
        environ = {
            "REQUEST_METHOD": getattr(request, "command", None) or "OTHER",
            "REMOTE_ADDR": channel.addr[0],
        }
        self.status, headers, body = channel.server.gateway.refuse(_failure(request.error), environ)
        self.response_headers.extend(headers)
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(b"" if environ["REQUEST_METHOD"] == "HEAD" else body)


def _failure(error: Error) -> Failure:
    # waitress' own words repeat what the client sent
    match error.code:
        case 408:
            return RequestTimeout("The request did not arrive in time.")
        case 413:
            return PayloadTooLarge("The body is too large.")
        case 431:
            return HeadersTooLarge("The headers are too large.")
        case 501:
            return NotImplementedMethod("Only the transfer coding 'chunked' is understood.")
        case 503:
            return ServiceUnavailable("Too much is being sent at the moment.", retry_after=_RETRY_AFTER)
        case 400:
            return ValidationError("The request is not HTTP that can be understood.", constraint="http")
        case _:
            return InternalError("Something went wrong on our side.")


class AnswerTask(WSGITask):  # type: ignore[misc]
    """Sends an answer whose length is known in one piece: head and body apart wake the client twice, and cost more."""

    wrote_header: bool

    def write(self, data: bytes) -> None:
        if self.wrote_header or not self.complete or not data or len(data) != self.content_length or not self.has_body:
            super().write(data)
            return
        head = self.build_response_header()
        self.channel.write_soon(head + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)

    def build_response_header(self) -> bytes:
        connection = self.request.headers.get("CONNECTION", "").lower()
        if self.version != "1.1" or connection == "close" or (self.content_length is None and self.has_body):
            head: bytes = super().build_response_header()
            return head
        # what is left is the ordinary case; the gateway writes names as they are to be sent, and neither of these two.
        # (waitress would close the connection behind what has no body, such as a 304)
        lines = [f"HTTP/1.1 {self.status}", *map(": ".join, self.response_headers)]
        lines += [f"Server: {self.channel.server.adj.ident}", f"Date: {_http_date(int(self.start_time))}", "", ""]
        return "\r\n".join(lines).encode("latin-1")


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> str:
    date: str = build_http_date(seconds)
    return date


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. Methods are the loop's unless they say otherwise."""

    parser_class = Parser
    task_class = AnswerTask
    error_task_class = RefusalTask
    request: Any

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:
        self._counted: str | None = None
        self._request_started: float | None = None
        self._linger_until: float | None = None
        super().__init__(server, sock, addr, adj, map=map)
        # last: what could not be made is never unmade, and would count for ever
        self._counted = counted_as(addr[0])
        server.open_by_address[self._counted] += 1

    def del_channel(self, map: Any = None) -> None:
        super().del_channel(map)
        address, self._counted = self._counted, None
        if address is None:
            return
        counts = self.server.open_by_address
        counts[address] -= 1
        if not counts[address]:
            del counts[address]

    def received(self, data: bytes) -> bool:
        if self._linger_until is not None:
            return False
        done: bool = super().received(data)
        if self.request is None:
            self._request_started = None
        elif self._request_started is None:
            self._request_started = time.monotonic()
        return done

    def check_client_disconnected(self) -> bool:
        """A worker's: whether the client has hung up.

        It looks for itself: a loop that reads on while a request is at work (waitress' look-ahead) fights the worker
        for the interpreter, and a small request costs twice as much.
        """
        if not self.connected:
            return True
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def check_times(self) -> None:
        """Each second: refuse a request that comes too slowly, end a connection that lingers."""
        now = time.monotonic()
        if self._linger_until is not None:
            if now >= self._linger_until:
                self.will_close = True
            return
        with self.requests_lock:
            request, started = self.request, self._request_started
            if request is None or started is None:
                return
            if self.requests:  # it has not been read on meanwhile, which is not the client's fault
                self._request_started = now
                return
            if now - started > HEADER_SECONDS + request.body_bytes_received / BODY_BYTES_PER_SECOND:
                self._refuse(request, _TooSlow(""))

    def unfinished_bytes(self) -> int:
        """How much has come of a body that is not there as a whole yet."""
        request = self.request
        return 0 if request is None else int(request.body_bytes_received)

    def refuse_unfinished(self) -> None:
        """There is no room for all that is being sent: refuse what is not there as a whole."""
        with self.requests_lock:
            # one that waits for the answer before it is refused a second later, or never has to be
            if self.request is not None and not self.requests:
                self._refuse(self.request, _TooMuchAtOnce(""))

    def _refuse(self, request: Any, error: Error) -> None:
        """Answer a request that is still coming; `requests_lock` is held, and no other is at work."""
        request.error, request.completed = error, True
        request.expect_continue = False
        self.request, self._request_started = None, None
        self.requests.append(request)
        self.server.add_task(self)

    def close_when_idle(self) -> None:
        """The server stops: close the connection unless it has a request at work."""
        self.check_times()
        with self.requests_lock:
            if self.requests or self._linger_until is not None:
                return
            self.close_when_flushed = bool(self.total_outbufs_len)
            self.will_close = not self.close_when_flushed

    def readable(self) -> bool:
        return self._linger_until is not None or bool(super().readable())

    def writable(self) -> bool:
        if self._linger_until is not None:
            return self.will_close
        return bool(super().writable())

    def handle_write(self) -> None:
        # A connection that is closed while something of the client's is unread is reset, and the client may never see
        # why its request was refused. So our side is closed first, and what still comes is read and thrown away.
        if self.close_when_flushed and not self.total_outbufs_len and not self.will_close and self._linger():
            return
        super().handle_write()

    def _linger(self) -> bool:
        if self._linger_until is not None:
            return True
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self.close_when_flushed = False
        self._linger_until = time.monotonic() + LINGER_SECONDS
        return True

    def _flush_outbufs_below_high_watermark(self) -> None:
        """A worker's: wait until the client has read enough. Raises ClientDisconnected when it reads nothing."""
        if self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            return
        with self.outbuf_lock:
            started = time.time()
            self._flush_exception(self._flush_some, do_close=False)
            while self.connected and self.total_outbufs_len > self.adj.outbuf_high_watermark:
                stalled = time.time() - max(started, self.last_activity)
                if stalled >= STALL_SECONDS:
                    self.will_close = True
                    self.server.pull_trigger()
                    raise ClientDisconnected
                self.server.pull_trigger()
                self.outbuf_lock.wait(STALL_SECONDS - stalled)
