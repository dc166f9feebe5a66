"""The outermost WSGI callable: whatever happens inside, an answer has the one shape, an id and its log line."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.errors import Failure, InternalError, ServiceUnavailable
from secureai_appliance.core.ids import new_id
from secureai_appliance.governance.usage import Used
from secureai_appliance.web import pages, responses
from secureai_appliance.web.dispatch import METHODS, STOPPING_RETRY_AFTER, Dispatcher
from secureai_appliance.web.exchange import Exchange
from secureai_appliance.web.hosts import HostCheck, Proxies
from secureai_appliance.web.parts import Parts
from secureai_appliance.web.policies import DATA_POLICY, PAGE_POLICY
from secureai_appliance.web.request import Metered
from secureai_appliance.web.responses import Frames, Reply
from secureai_appliance.web.route import Route

StartResponse = Callable[..., Any]
Headers = list[tuple[str, str]]
HeaderSource = Callable[[Exchange], Mapping[str, str]]
"""Headers for every answer, such as the state of a limit."""

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # not `no-referrer`: with it browsers send `Origin: null` with the forms of our own pages
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_BODYLESS = frozenset({204, 304})
UNMATCHED = "unmatched"

log = logging.getLogger(__name__)
access_log = logging.getLogger("secureai_appliance.access")


class Gateway:
    """The WSGI application."""

    def __init__(self, parts: Parts, routes: Sequence[Route]) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._metrics = parts.metrics
        self._hosts = HostCheck(parts.settings)
        self.proxies = Proxies(parts.settings.trusted_proxies)
        self.stopping = threading.Event()
        """Set: new requests are refused."""
        self.ending = threading.Event()
        """Set: what still runs ends at once."""
        self.header_sources: list[HeaderSource] = [self._limit_headers]
        self._dispatcher = Dispatcher(parts, routes, self.ending.is_set)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        exchange = self._open(environ)
        reply = self._answer(exchange)
        try:
            start_response(reply.status_line, self._headers(exchange, reply))
        except Exception:  # noqa: BLE001 (an answer that can't be begun is a defect like any other)
            reply = self._defect(exchange)
            start_response(reply.status_line, self._headers(exchange, reply, bare=True), sys.exc_info())
        exchange.status = reply.status
        return _Sending(exchange, reply)

    def refuse(self, failure: Failure, environ: dict[str, Any]) -> tuple[str, Headers, bytes]:
        """Status line, headers and body of what the server refuses before it is a request that could be answered."""
        exchange = self._open(environ)
        reply = self._render_failure(exchange, failure)
        exchange.status = reply.status
        headers = self._headers(exchange, reply)
        exchange.close()
        return reply.status_line, headers, reply.body if isinstance(reply.body, bytes) else b""

    def _open(self, environ: dict[str, Any]) -> Exchange:
        exchange = Exchange(new_id("req"), environ, self.proxies.client(environ), self._clock.monotonic())
        self._metrics.in_flight.inc()
        exchange.on_close(self._metrics.in_flight.dec)
        exchange.on_close(lambda: self._record(exchange))
        return exchange

    def _answer(self, exchange: Exchange) -> Reply:
        try:
            try:
                self._hosts.check(exchange.environ)
                if self.stopping.is_set():
                    raise ServiceUnavailable("The server is shutting down.", retry_after=STOPPING_RETRY_AFTER)
                return self._dispatcher.answer(exchange)
            except Failure as failure:
                return self._render_failure(exchange, failure)
        except Exception:  # noqa: BLE001 (the catch-all: the caller gets an id, the log gets the traceback)
            return self._defect(exchange)

    def _render_failure(self, exchange: Exchange, failure: Failure) -> Reply:
        if failure.status >= 500 and failure.__cause__ is not None:
            log.error("%s: %s", exchange.id, failure.message, exc_info=failure.__cause__)
        self._metrics.failed(failure.type)
        return self._shown(failure, exchange)

    def _shown(self, failure: Failure, exchange: Exchange) -> Reply:
        if pages.wants_page(exchange.environ, exchange.route):
            return pages.failure_page(failure, exchange.id)
        return responses.render_failure(failure, exchange.id, oauth=_speaks_oauth(exchange))

    def _defect(self, exchange: Exchange) -> Reply:
        log.exception("%s: defect", exchange.id)
        self._metrics.failed(InternalError.type)
        failure = InternalError("Something went wrong on our side. The server's log has more under this request id.")
        return self._shown(failure, exchange)

    def _headers(self, exchange: Exchange, reply: Reply, *, bare: bool = False) -> Headers:
        headers = {**_ALWAYS, **reply.headers, "X-Request-Id": exchange.id}
        page = headers.get("Content-Type", "").startswith("text/html")
        headers.setdefault("Content-Security-Policy", PAGE_POLICY if page else DATA_POLICY)
        headers.setdefault("Cache-Control", "private, no-cache" if "ETag" in headers else "no-store")
        if isinstance(reply.body, bytes) and reply.status not in _BODYLESS:
            headers["Content-Length"] = str(len(reply.body))
        route = exchange.route
        if route is not None and route.deprecated:
            headers["Deprecation"] = route.deprecated
        if route is not None and route.sunset:
            headers["Sunset"] = route.sunset
        for source in () if bare else self.header_sources:
            headers.update(source(exchange))
        return [*headers.items(), *(("Set-Cookie", value) for value in reply.cookies)]

    def _limit_headers(self, exchange: Exchange) -> Mapping[str, str]:
        """How the caller's limits stand; of a request without one, those of its address."""
        if exchange.standing is not None:
            return exchange.standing.headers()
        if exchange.lease is not None:
            return exchange.lease.nearest().headers()
        most = self._parts.configs.value("limits.failed_authentications_per_minute")
        return self._parts.addresses.standing(exchange.client, most).headers()

    def _record(self, exchange: Exchange) -> None:
        seconds = self._clock.monotonic() - exchange.started
        method = exchange.method if exchange.method in METHODS else "OTHER"
        # never the path itself: ids and one-time links stand in it, and secrets that were pasted into the wrong place
        path = exchange.route.path if exchange.route is not None else UNMATCHED
        self._metrics.answered(method, path, exchange.status, seconds)
        caller, metered = exchange.caller, exchange.metered
        if caller is not None and exchange.lease is not None:
            for used in _used(metered, caller, seconds):
                self._parts.usage.add(used)
        if not access_log.isEnabledFor(logging.INFO):
            return
        access_log.info(
            "%s %s %s %s %d %.1fms %s",
            exchange.id,
            exchange.client,
            method,
            path,
            exchange.status,
            seconds * 1000,
            f"{caller.user_id} {caller.key_id or caller.grant_id or 'session'}" if caller is not None else "-",
        )


def _used(metered: Metered, caller: Caller, seconds: float) -> Iterator[Used]:
    """The request under the model that answered, or that read where none did, and the others beside it."""
    read = dict(metered.read)
    model, prompt = metered.model, metered.prompt_tokens
    if not model and read:
        model = next(iter(read))
        prompt = read.pop(model)
    who, completion = (caller.user_id, caller.key_id), metered.completion_tokens
    yield Used(*who, model, metered.assistant_id, prompt, completion, seconds)
    for other, tokens in read.items():
        yield Used(*who, other, metered.assistant_id, tokens, 0, 0.0, requests=0)


def _speaks_oauth(exchange: Exchange) -> bool:
    return exchange.route is not None and exchange.route.oauth


class _Sending:
    """The body on its way out. The server calls `close` whatever happens (PEP 3333)."""

    def __init__(self, exchange: Exchange, reply: Reply) -> None:
        self._exchange = exchange
        self._body: bytes | Frames = b"" if exchange.method == "HEAD" else reply.body

    def __iter__(self) -> Iterator[bytes]:
        if not isinstance(self._body, bytes):
            return iter(self._body)
        return iter([self._body] if self._body else [])

    def close(self) -> None:
        self._exchange.close()
