"""The HTTP server: waitress, with our answers to what it refuses itself, time-outs, bounds and a graceful stop.

Waitress reads and buffers requests in one thread (the loop) and runs the application in a pool. Only the loop touches
the map of sockets; everything here that may run in another thread says so.
"""

from __future__ import annotations

import errno
import logging
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from secureai_appliance.core.errors import EXIT_PORT, StartupError
from secureai_appliance.web.addresses import public_url
from secureai_appliance.web.channel import Channel
from secureai_appliance.web.gateway import Gateway
from secureai_appliance.web.hosts import counted_as
from secureai_appliance.web.parts import Parts
from secureai_appliance.web.route import MB
from secureai_appliance.web.routes import route_table

CONNECTIONS = 2000
CONNECTIONS_PER_ADDRESS = 1000
"""Of one client. Trusted proxies are exempt: theirs are many clients'."""
SPARE_THREADS = 32
"""Beyond the places for completions, so that everything else always finds a thread."""
MAX_BODY = 16 * MB
MAX_HEADERS = 32 * 1024
UNFINISHED_BYTES = 512 * MB
"""Of bodies that are still coming, of all clients together: they lie in the data folder, and anybody may send them."""
IDLE_SECONDS = 75
UNSENT_BYTES = 256 * 1024
"""Of one answer in memory before its thread waits for the client to read."""
_FILES_BESIDES_CONNECTIONS = 256
_FILES_PER_CONNECTION = 2  # its socket, and the file that a large body is written to
_ACCEPT_PAUSE_SECONDS = 0.5
_BACKLOG = 1024
_FIRST_THREADS = 4

log = logging.getLogger(__name__)
# waitress names paths, which may hold a one-time link, when a client hangs up; and a burst is no news
logging.getLogger("waitress").setLevel(logging.WARNING)
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def listen(host: str, port: int) -> socket.socket:
    """The listening socket; port 0 takes a free one. Raises StartupError (exit code 6) with what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as cause:
        raise StartupError(f"'{host}' is not an address to listen on: choose one with --host.", EXIT_PORT) from cause
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as cause:
        listener.close()
        raise StartupError(f"{_why(cause, host, port)} Choose another one with --port.", EXIT_PORT) from cause
    return listener


def _why(cause: Exception, host: str, port: int) -> str:
    number = cause.errno if isinstance(cause, OSError) else None
    if number == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program."
    if number == errno.EACCES:
        return f"Port {port} needs rights that this user does not have."
    if number == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine."
    return f"Port {port} on {host} can't be opened ({cause})."


class Server:
    """A running server. `start` and `stop` belong to one thread, which is not the loop's."""

    def __init__(self, parts: Parts, listener: socket.socket, gateway: Gateway | None = None) -> None:
        """`listener` is from `listen` and closed by `stop`. `gateway` is for tests; by default it has all routes."""
        self.gateway = gateway or Gateway(parts, route_table())
        self._settings = parts.settings
        most = max(MAX_BODY, parts.settings.max_upload * MB)
        self._loop = _Loop(self.gateway, listener, parts.settings.max_streams + SPARE_THREADS, most)
        self._ended: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self.failed = False
        """Whether the server ended by an error and not by `stop`."""

    @property
    def port(self) -> int:
        """The real port, also where a free one was asked for."""
        return int(self._loop.effective_port)

    @property
    def address(self) -> str:
        """The address to give to people: `public_url`, else host and port."""
        return public_url(self._settings, self.port)

    def start(self, ended: Callable[[], None] = lambda: None) -> None:
        """Answer from now on. `ended` is called, in the server's own thread, when it answers no more."""
        self._ended = ended
        self._thread.start()

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Accept nothing new, let running requests end, end what is left, return within `grace_seconds`.

        1. The listening socket and idle connections are closed; a request that still arrives is refused with 503.
        2. After seven tenths of the time streams end with an error and [DONE], and waiting handlers give up.
        3. What has not been sent then is dropped.
        """
        if not self._thread.is_alive():
            self._loop.close_everything()
            return
        self.gateway.stopping.set()
        deadline = time.monotonic() + grace_seconds
        self._loop.begin_stop(deadline)
        self._thread.join(grace_seconds * 0.7)
        self.gateway.ending.set()
        self._thread.join(max(0.0, deadline - time.monotonic()) + 1.0)

    def _run(self) -> None:
        try:
            self._loop.run()
        except Exception:
            self.failed = True
            log.critical("the HTTP server ended by an error", exc_info=True)
        finally:
            self._ended()


class _Threads(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads for requests, begun when there is no idle one for the next, up to a bound.

    All of them at once would take turns, and each would have forgotten the processor's caches when its turn comes.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._growing = threading.Lock()
        self.set_thread_count(_FIRST_THREADS)

    def add_task(self, task: Any) -> None:
        """Any thread: have a task done."""
        with self._growing:
            with self.lock:
                count = len(self.threads) - self.stop_count
                idle = count - self.active_count - len(self.queue)
            if idle <= 0 and count < self._most:
                self.set_thread_count(count + 1)
        super().add_task(task)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        with self._growing:
            self._most = 0
        return bool(super().shutdown(cancel_pending, timeout))


class _Loop(TcpWSGIServer):  # type: ignore[misc]
    """Waitress' server with a bound per address, time-outs for slow requests and an end."""

    channel_class = Channel

    def __init__(self, gateway: Gateway, listener: socket.socket, threads: int, max_body: int) -> None:
        self.gateway = gateway
        self.open_by_address: Counter[str] = Counter()
        self._trigger_lock = threading.Lock()
        self._trigger_open = True
        self._stop_at: float | None = None
        self._accept_at = 0.0
        adjustments = Adjustments(
            sockets=[listener],
            backlog=_BACKLOG,
            connection_limit=_connection_limit(),
            # select() can't look at descriptors past 1,024
            asyncore_use_poll=True,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=1,
            max_request_header_size=MAX_HEADERS,
            max_request_body_size=max_body + 1,
            outbuf_high_watermark=UNSENT_BYTES,
            log_socket_errors=False,
            ident="SecureAI",
            # X-Forwarded-For is looked at by the gateway, which knows the trusted proxies
            clear_untrusted_proxy_headers=False,
        )
        info = (listener.family, listener.type, listener.proto, listener.getsockname())
        pool = _Threads(threads)
        super().__init__(
            gateway, {}, True, listener, dispatcher=pool, adj=adjustments, sockinfo=info, bind_socket=False
        )

    def run(self) -> None:
        """The loop, until `begin_stop` and nothing is left to send, or its deadline."""
        try:
            while self._stop_at is None:
                wasyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)
            self._stop_accepting()
            while self.active_channels and time.monotonic() < self._stop_at:
                for channel in list(self.active_channels.values()):
                    channel.close_when_idle()
                wasyncore.loop(timeout=0.05, use_poll=True, map=self._map, count=1)
        finally:
            self.close_everything()

    def begin_stop(self, deadline: float) -> None:
        """Any thread: end the loop by `deadline` (monotonic seconds)."""
        self._stop_at = deadline
        self.pull_trigger()

    def pull_trigger(self) -> None:
        """Any thread: wake the loop. Without effect once it has ended."""
        # a thread may outlive the loop: its byte must not go to a file that was opened under the pipe's old number
        with self._trigger_lock:
            if self._trigger_open:
                super().pull_trigger()

    def close_everything(self) -> None:
        """Close every socket and let the threads go."""
        self._stop_accepting()
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        self.task_dispatcher.shutdown(timeout=1)
        with self._trigger_lock:
            self._trigger_open = False
            self.trigger.close()

    def handle_accept(self) -> None:
        try:
            accepted = self.accept()
        except OSError as cause:
            # out of files or memory: the connection waits on, and would be tried again at once, and again
            self._accept_at = time.monotonic() + _ACCEPT_PAUSE_SECONDS
            log.warning("a connection could not be accepted: %s", cause.strerror)
            return
        if accepted is None:
            return
        connection, address = accepted
        taken = self.open_by_address[counted_as(address[0])]
        if taken >= CONNECTIONS_PER_ADDRESS and not self.gateway.proxies.trust(address[0]):
            connection.close()
            return
        try:
            self.set_socket_options(connection)
            self.channel_class(self, connection, address, self.adj, map=self._map)
        except OSError:
            connection.close()  # it was gone before it was taken
        except BaseException:
            connection.close()
            raise

    def readable(self) -> bool:
        return bool(super().readable()) and time.monotonic() >= self._accept_at

    def handle_error(self) -> None:
        # waitress would close the listening socket, and the process would live on and answer nobody
        log.exception("a connection could not be taken")

    def maintenance(self, now: float) -> None:
        """Each second: idle connections are closed; requests that come too slowly, or too many at once, refused."""
        super().maintenance(now)
        for channel in list(self.active_channels.values()):
            channel.check_times()
        self._bound_unfinished()

    def _bound_unfinished(self) -> None:
        """Where too much is being sent, the address that sends most gets its requests refused."""
        sent: Counter[str] = Counter()
        for channel in self.active_channels.values():
            sent[channel.addr[0]] += channel.unfinished_bytes()
        if sent.total() <= UNFINISHED_BYTES:
            return
        ((address, amount),) = sent.most_common(1)
        log.warning("%s is sending %d MB at once: refused", address, amount // MB)
        for channel in list(self.active_channels.values()):
            if channel.addr[0] == address and channel.unfinished_bytes():
                channel.refuse_unfinished()

    def _stop_accepting(self) -> None:
        if self.accepting:
            wasyncore.dispatcher.close(self)


def _connection_limit() -> int:
    """As many as asked for, if the process may open that many files; the soft limit is raised for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS * _FILES_PER_CONNECTION + _FILES_BESIDES_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(64, min(CONNECTIONS, (soft - _FILES_BESIDES_CONNECTIONS) // _FILES_PER_CONNECTION))
