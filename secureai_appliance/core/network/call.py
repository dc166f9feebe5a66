"""One request to another server, from its first byte to the last."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Protocol

from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from secureai_appliance.core.network.failures import (
    Cancelled,
    NetworkError,
    TimedOut,
    TooLarge,
    Unreachable,
)
from secureai_appliance.core.network.urls import Target, is_ipv6

_PIECE = 64 * 1024


@dataclass(frozen=True)
class Timeouts:
    """Seconds: for each attempt to connect (the name's resolution too), without a byte, and for all of it (None: no
    bound)."""

    connect: float = 5.0
    read: float = 30.0
    total: float | None = 60.0


USUAL_TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class Fetched:
    """A whole answer. `headers` are found under any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Message:
    """What is sent."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None


class Doorway(Protocol):
    """What a call needs of the door."""

    def addresses(self, target: Target, patience: float) -> list[str]: ...

    def connection(
        self, target: Target, timeouts: Timeouts, dial: Callable[[], socket.socket]
    ) -> HTTPConnection | HTTPSConnection: ...


class Call:
    """One request to another server: `open`, `read` until it is empty, `close`, from one thread; `cancel` from any."""

    def __init__(self, door: Doorway, request: Message, timeouts: Timeouts, max_bytes: int) -> None:
        self._door = door
        self._request = request
        self._target = request.target
        self._timeouts = timeouts
        self._left = max_bytes
        self._most = max_bytes
        self._ended: NetworkError | None = None
        self._lock = threading.Lock()
        self._breaker: socket.socket | None = None
        self._connection: HTTPConnection | HTTPSConnection | None = None
        self._response: BaseHTTPResponse | None = None
        self._deadline: threading.Timer | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Call:
        return self

    def __next__(self) -> bytes:
        piece = self.read()
        if not piece:
            raise StopIteration
        return piece

    def open(self) -> int:
        """Send the request and read the head of the answer; its status. Raises NetworkError."""
        if self._timeouts.total is not None:
            late = TimedOut(f"'{self._target.host}' took longer than {self._timeouts.total:g} seconds.")
            self._deadline = threading.Timer(self._timeouts.total, self._end, (late,))
            self._deadline.daemon = True
            self._deadline.start()
        try:
            self._connection = self._door.connection(self._target, self._timeouts, self._dial)
            self._connection.request(
                self._request.method,
                self._target.path,
                body=self._request.body,
                headers=self._request.headers,
                preload_content=False,
                decode_content=False,
            )
            self._response = self._connection.getresponse()
        except (HTTPError, http.client.HTTPException, OSError) as cause:
            self._fail(cause)
        self._raise_if_ended()
        self.status, self.headers = self._response.status, self._response.headers
        if (length := self._response.length_remaining) is not None and length > self._left:
            raise self._too_large()
        return self.status

    def read(self, most: int = _PIECE) -> bytes:
        """What has come, waiting for the first byte of it; empty at the end. Raises NetworkError."""
        if self._response is None:
            raise ValueError("the call was not opened")
        try:
            piece = self._response.read1(most)
        except (HTTPError, http.client.HTTPException, OSError) as cause:
            self._fail(cause)
        self._raise_if_ended()
        self._left -= len(piece)
        if self._left < 0:
            raise self._too_large()
        return piece

    def cancel(self) -> None:
        """End it wherever it stands: whoever reads is told `Cancelled`. Harmless when it has ended."""
        self._end(Cancelled("The request was cancelled."))

    def close(self) -> None:
        """Free the connection. More than once is harmless."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.close()
        with self._lock:
            self._drop_breaker()

    def _dial(self) -> socket.socket:
        """Connect to the first checked address that answers."""
        timeouts = self._timeouts
        failure: OSError | None = None
        for address in self._door.addresses(self._target, timeouts.connect):
            family = socket.AF_INET6 if is_ipv6(address) else socket.AF_INET
            dialled = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._watch(dialled)
                dialled.settimeout(timeouts.connect)
                dialled.connect((address, self._target.port))
                self._raise_if_ended()
                dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as cause:
                dialled.close()
                failure = cause
            except BaseException:
                dialled.close()
                raise
            else:
                return dialled
        raise failure or Unreachable(f"The name '{self._target.host}' has no address.")

    def _watch(self, dialled: socket.socket) -> None:
        """From now on `_end` reaches this connection, also under TLS, which takes the socket itself away."""
        with self._lock:
            self._raise_if_ended()
            self._drop_breaker()
            self._breaker = dialled.dup()

    def _drop_breaker(self) -> None:
        if self._breaker is not None:
            self._breaker.close()
            self._breaker = None

    def _end(self, reason: NetworkError) -> None:
        with self._lock:
            if self._ended is not None:
                return
            self._ended = reason
            if self._breaker is not None:
                try:
                    self._breaker.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # it was not connected yet, or is no longer

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _fail(self, cause: Exception) -> NoReturn:
        if self._ended is not None:
            raise self._ended from cause
        host = self._target.host
        if isinstance(cause, TimeoutError | ReadTimeoutError):
            raise TimedOut(f"'{host}' does not answer in time.") from cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Unreachable(f"The certificate of '{host}' is not believed: {cause.verify_message}.") from cause
        if isinstance(cause, ConnectionRefusedError):
            raise Unreachable(f"'{host}' refuses connections on port {self._target.port}.") from cause
        raise Unreachable(f"The connection to '{host}' failed ({type(cause).__name__}).") from cause

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The answer of '{self._target.host}' has more than {self._most} bytes.")
