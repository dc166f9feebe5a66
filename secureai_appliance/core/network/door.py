"""The door: names are resolved and addresses checked here, and exactly the checked ones are dialled."""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence

from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection, HTTPSConnection

from secureai_appliance.core.network.addresses import AddressPolicy
from secureai_appliance.core.network.call import USUAL_TIMEOUTS, Call, Fetched, Message, Timeouts
from secureai_appliance.core.network.failures import Blocked, TimedOut, Unreachable
from secureai_appliance.core.network.urls import Target, parse_url

Resolve = Callable[[str, int], Sequence[str]]

USER_AGENT = "SecureAI-Appliance"
# what frames a message is the door's business
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"})


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
        timeouts: Timeouts = USUAL_TIMEOUTS,
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
        timeouts: Timeouts = USUAL_TIMEOUTS,
        max_bytes: int = 1024 * 1024,
    ) -> Call:
        """A request that is sent by `Call.open` and read piece by piece. Raises InvalidUrl."""
        sent = HTTPHeaderDict({"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})})
        if own := _OWN_HEADERS & {name.lower() for name in sent}:
            raise ValueError(f"the door sets these headers itself: {sorted(own)}")
        return Call(self, Message(method, parse_url(url), sent, body), timeouts, max_bytes)

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
