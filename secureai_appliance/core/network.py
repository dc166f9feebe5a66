"""The one door to other servers: what the appliance dials, it dials here.

The name is resolved here, every address is checked, and exactly the checked address is dialled, so that a name that
answers otherwise a moment later leads nowhere else. Redirects are answers like any other, proxies of the environment
are not looked at, and time and size are bounded.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse, HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

USER_AGENT = "SecureAI-Appliance"
_PIECE = 64 * 1024
_PORTS = {"http": 80, "https": 443}
# what frames a message is the door's business
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"})


class NetworkError(Exception):
    """Another server could not be asked, or not to the end. The message holds nothing but what the caller gave."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidUrl(NetworkError):
    """Not an http or https address that can be dialled."""


class Blocked(NetworkError):
    """The policy forbids the address."""


class Unreachable(NetworkError):
    """No name, no connection, no certificate to believe, or an answer that breaks off or is not HTTP."""


class TimedOut(NetworkError):
    """It took longer than it may."""


class TooLarge(NetworkError):
    """The answer has more bytes than the caller takes."""


class Cancelled(NetworkError):
    """Ended by `Call.cancel`."""


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


NEVER = _networks(
    *("0.0.0.0/8", "::/128"),  # this host, whatever that is
    *("169.254.0.0/16", "fe80::/10"),  # link-local, and most clouds' metadata
    *("224.0.0.0/4", "ff00::/8", "240.0.0.0/4"),  # multicast, reserved, broadcast
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),  # metadata of Alibaba, Azure, Oracle
    *("fd00:ec2::/32", "fd20:ce::/32"),  # metadata of AWS and Google over IPv6
)
"""Addresses that no policy opens."""

_PRIVATE = _networks(
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "192.0.0.0/24"),
    *("198.18.0.0/15", "fc00::/7", "fec0::/10", "::1/128"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class AddressPolicy:
    """Which addresses may be dialled. What is in `NEVER` may not, whatever stands here.

    `private`: whether private and loopback addresses may. `deny` forbids networks, `allow` makes exceptions from both.
    """

    private: bool = True
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Whether an address may be dialled; an IPv4 address inside an IPv6 one counts as itself."""
        meant = _meant(address)
        if any(_inside(one, NEVER) for one in meant):
            return False
        if all(_inside(one, self.allow) for one in meant):
            return True
        if any(_inside(one, self.deny) for one in meant):
            return False
        return self.private or not any(_inside(one, _PRIVATE) for one in meant)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks such as `10.0.0.0/8`, for an AddressPolicy. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _inside(address: Address, among: tuple[Network, ...]) -> bool:
    return any(address in network for network in among)


def _meant(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that packets to it may end at."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    meant: list[Address] = [address]
    if address.sixtofour is not None:
        meant.append(address.sixtofour)
    if address.teredo is not None:
        meant += address.teredo
    if address in _NAT64:
        meant.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return meant


@dataclass(frozen=True)
class Timeouts:
    """Seconds: for each attempt to connect (the name's resolution too), without a byte, and for all of it (None: no
    bound)."""

    connect: float = 5.0
    read: float = 30.0
    total: float | None = 60.0


@dataclass(frozen=True)
class Fetched:
    """A whole answer. `headers` are found under any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Target:
    """A checked address: `host` in ASCII, `path` with the query."""

    scheme: str
    host: str
    port: int
    path: str


def parse_url(url: str) -> Target:
    """Where `url` leads. Raises InvalidUrl; a password in an address is refused, because addresses are shown."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if not _is_ipv6(parts.hostname) else parts.hostname or ""
    except ValueError as cause:
        raise InvalidUrl("The address is not a URL.") from cause
    if parts.scheme not in _PORTS or not host:
        raise InvalidUrl("The address must begin with http:// or https:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise InvalidUrl("The address must not hold a user name or a password.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # the host may have other letters: it goes out as ASCII
    if not url.isprintable() or not path.isascii() or " " in url or "\\" in url:
        raise InvalidUrl("The address holds characters that a URL has not.")
    if port == 0:
        raise InvalidUrl("The address has the port 0.")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def _is_ipv6(host: str | None) -> bool:
    return host is not None and ":" in host


def system_resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them. Raises OSError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Door:
    """Asks other servers over HTTP. Safe to use from any thread."""

    def __init__(
        self,
        policy: Callable[[], AddressPolicy] = AddressPolicy,
        *,
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`policy` is asked for each request. `tls` says which certificates are believed; without it, the system's."""
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._tls_lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeouts: Timeouts = Timeouts(),
        max_bytes: int = 1024 * 1024,
    ) -> Fetched:
        """The whole answer, whatever its status. Raises NetworkError."""
        call = self.stream(method, url, headers=headers, body=body, timeouts=timeouts, max_bytes=max_bytes)
        with call:
            call.open()
            pieces = list(call)
        return Fetched(call.status, call.headers, b"".join(pieces))

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeouts: Timeouts = Timeouts(),
        max_bytes: int = 1024 * 1024,
    ) -> Call:
        """A request that is sent by `Call.open` and read piece by piece. Raises InvalidUrl."""
        sent = HTTPHeaderDict({"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})})
        if own := _OWN_HEADERS & {name.lower() for name in sent}:
            raise ValueError(f"the door sets these headers itself: {sorted(own)}")
        return Call(self, _Request(method, parse_url(url), sent, body), timeouts, max_bytes)

    def addresses(self, target: Target, patience: float) -> list[str]:
        """The checked addresses of a host, to be dialled as they are. Raises Blocked, Unreachable, TimedOut."""
        found = _within(patience, lambda: self._resolve(target.host, target.port), target.host)
        # an IPv6 scope (%eth0) belongs to link-local addresses only, which are blocked
        checked = [(text, ipaddress.ip_address(text.partition("%")[0])) for text in dict.fromkeys(found)]
        if not checked:
            raise Unreachable(f"The name '{target.host}' has no address.")
        policy = self._policy()
        for _, address in checked:
            if not policy.permits(address):
                raise Blocked(f"'{target.host}' leads to an address that must not be dialled.")
        return [text for text, _ in checked]

    def connection(
        self, target: Target, timeouts: Timeouts, dial: Callable[[], socket.socket]
    ) -> HTTPConnection | HTTPSConnection:
        """A connection that `dial` makes, with the name of the target in everything that is said over it."""
        if target.scheme == "http":
            return _PlainConnection(target, timeouts.read, dial)
        with self._tls_lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()  # reads hundreds of certificates: once, and when needed
        return _TlsConnection(target, timeouts.read, dial, self._tls)


@dataclass(frozen=True)
class _Request:
    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None


class _PlainConnection(HTTPConnection):
    def __init__(self, target: Target, timeout: float, dial: Callable[[], socket.socket]) -> None:
        super().__init__(target.host, target.port, timeout=timeout)
        self._dial = dial

    def _new_conn(self) -> socket.socket:
        return self._dial()


class _TlsConnection(HTTPSConnection):
    def __init__(
        self, target: Target, timeout: float, dial: Callable[[], socket.socket], context: ssl.SSLContext
    ) -> None:
        super().__init__(target.host, target.port, timeout=timeout, ssl_context=context, cert_reqs=ssl.CERT_REQUIRED)
        self._dial = dial

    def _new_conn(self) -> socket.socket:
        return self._dial()


class Call:
    """One request to another server: `open`, `read` until it is empty, `close`, from one thread; `cancel` from any."""

    def __init__(self, door: Door, request: _Request, timeouts: Timeouts, max_bytes: int) -> None:
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
            family = socket.AF_INET6 if _is_ipv6(address) else socket.AF_INET
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


def _within(seconds: float, resolve: Callable[[], Sequence[str]], host: str) -> Sequence[str]:
    """What `resolve` gives. It runs in a thread of its own: the system's resolver knows no bound of time."""
    told: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            told.put(resolve())
        except (OSError, UnicodeError) as cause:
            told.put(cause)

    threading.Thread(target=run, name="resolve", daemon=True).start()
    try:
        found = told.get(timeout=seconds)
    except queue.Empty:
        raise TimedOut(f"The name '{host}' was not resolved in time.") from None
    if isinstance(found, Exception):
        raise Unreachable(f"The name '{host}' can't be resolved.") from found
    return found
