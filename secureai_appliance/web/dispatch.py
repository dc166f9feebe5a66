"""From a request to the reply of its handler: match, authenticate, authorise, take a place, decode, run, render."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import bottle
import msgspec

from secureai_appliance.accounts import keys, users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.credentials import Credentials
from secureai_appliance.core.errors import (
    AuthenticationError,
    MethodNotAllowed,
    NotFound,
    NotImplementedMethod,
    PermissionDenied,
    RateLimitExceeded,
    ServiceUnavailable,
    ValidationError,
)
from secureai_appliance.governance import maintenance
from secureai_appliance.governance.addresses import exceeded
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.audit import Outcome as AuditOutcome
from secureai_appliance.governance.limits import Refused
from secureai_appliance.governance.refusals import Refusal
from secureai_appliance.web import body, forms, idempotency, multipart, query, responses
from secureai_appliance.web.answers import Outcome, Stream
from secureai_appliance.web.budget import Budget
from secureai_appliance.web.cookies import require_same_origin
from secureai_appliance.web.exchange import Exchange
from secureai_appliance.web.idempotency import Attempt
from secureai_appliance.web.parts import Parts
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import Frames, Reply
from secureai_appliance.web.route import Access, Route
from secureai_appliance.web.sse import Ending, EventStream, Surroundings
from secureai_appliance.web.visitors import sign_in_address, visitor

API = "/api/"
VERSIONS = ("v1",)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
BUSY_RETRY_AFTER = 5
STOPPING_RETRY_AFTER = 10
HEADER = "HTTP_IDEMPOTENCY_KEY"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_IGNORED_BYTES = 512
_IGNORED_NAME = 40  # characters: even as four escaped bytes each they leave room
_HOUR = 3600
_CLIENT_CLOSED_REQUEST = 499
_NOT_MODIFIED = 304


class Dispatcher:
    """Runs the rows of the route table. One per server; safe to use from any thread."""

    def __init__(self, parts: Parts, routes: Sequence[Route], ending: Callable[[], bool]) -> None:
        """`ending` turns true when what still runs has to end."""
        self._parts = parts
        self._ending = ending
        self._credentials = Credentials(parts.store)
        self._running = idempotency.Running(parts.store)
        self._places = threading.BoundedSemaphore(parts.settings.max_streams)
        self._touched: dict[str, int] = {}
        self._methods = sorted({route.method for route in routes})
        self._router = bottle.Router()
        for route in routes:
            self._router.add(route.path.replace("{", "<").replace("}", ">"), route.method, route)

    def answer(self, exchange: Exchange) -> Reply:
        """The reply. Raises Failure; anything else that it raises is a defect."""
        environ = exchange.environ
        path = _path(environ)
        if exchange.method not in METHODS:
            raise NotImplementedMethod("The method is not known here.")
        if exchange.method == "OPTIONS":
            return Reply(204, {"Allow": self._allow(path)})
        route, arguments = self._match(exchange, path)
        exchange.route, environ[multipart.ROUTE] = route, route.path
        if route.page and exchange.method not in SAFE:
            require_same_origin(environ)
        try:
            # who asks and whether they may is one question to one state
            with self._parts.store.steady():
                led_away = self._let_in(exchange, route)
            if led_away is not None:
                return led_away
            request, reply = self._attend(exchange, route, arguments)
        except PermissionDenied:
            if exchange.caller is not None:
                self._note(exchange, route, "permission.denied", exchange.caller.actor)
            raise
        except ServiceUnavailable:
            _cost_nothing(exchange)
            raise
        if request.ignored:
            reply.headers["X-SecureAI-Ignored"] = _ignored_header(request.ignored)
        reply = responses.not_modified(reply, environ.get("HTTP_IF_NONE_MATCH"))
        if reply.status == _NOT_MODIFIED or idempotency.REPLAYED in reply.headers:
            _cost_nothing(exchange)
        return reply

    def _let_in(self, exchange: Exchange, route: Route) -> Reply | None:
        """Find out who asks and count the request. A reply for whoever has to sign in to the pages first."""
        try:
            exchange.caller = caller = self._authenticate(route, exchange)
        except (AuthenticationError, PermissionDenied, RateLimitExceeded):
            self._note(exchange, route, "authentication.failed", Actor(ip=exchange.client))
            raise
        if route.page and caller is None and route.access is not Access.PUBLIC:
            return Reply(303, {"Location": sign_in_address(exchange.method, exchange.environ)})
        if route.oauth or (caller is not None and caller.role != "admin"):
            maintenance.refuse(self._parts.configs)
        if caller is not None:
            self._admit(exchange, route, caller)
        return None

    def _attend(self, exchange: Exchange, route: Route, arguments: dict[str, str]) -> tuple[Request[Any, Any], Reply]:
        if route.streams:
            self._take_place(exchange)
        raw, request = self._decode(exchange, route, arguments)
        return request, self._run(exchange, route, request, raw)

    # which route

    def _match(self, exchange: Exchange, path: str) -> tuple[Route, dict[str, str]]:
        found = self._find("GET" if exchange.method == "HEAD" else exchange.method, path)
        if found is None:
            # who puts a file where it is posted
            posted = self._find("POST", path) if exchange.method == "PUT" else None
            hint = forms.how({**exchange.environ, multipart.ROUTE: posted[0].path}, posted[0]) if posted else ""
            message = f"The method {exchange.method} is not one of this path's. {hint}".rstrip()
            raise MethodNotAllowed(message, headers={"Allow": self._allow(path)})
        return found

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        try:
            route, arguments = self._router.match({"REQUEST_METHOD": method, "PATH_INFO": path})
        except bottle.HTTPError as error:
            if error.status_code == 405:
                return None
            raise _not_found(path) from None
        return route, arguments

    def _allow(self, path: str) -> str:
        methods = self._methods if path == "*" else [method for method in self._methods if self._find(method, path)]
        return ", ".join(sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}))

    # who asks

    def _authenticate(self, route: Route, exchange: Exchange) -> Caller | None:
        """The caller; None where anybody is, and for a page that needs a sign-in first."""
        settings = self._parts.settings
        if route.access is Access.PUBLIC or (route.public_if and getattr(settings, route.public_if)):
            return None
        try:
            if not route.page:
                return self._key_holder(exchange)
            caller = visitor(self._parts, exchange.environ)
        except PermissionDenied:
            # the right key in the wrong place: nobody who should have it
            self._parts.without_credential(exchange.client)
            raise
        except AuthenticationError as failure:
            self._parts.without_credential(exchange.client)
            failure.headers.setdefault("WWW-Authenticate", 'Bearer error="invalid_token"')
            raise
        return None if caller is None else dataclasses.replace(caller, ip=exchange.client)

    def _admit(self, exchange: Exchange, route: Route, caller: Caller) -> None:
        """Count the request, also one that turns out to be forbidden or wrong."""
        if route.limit != "none" and not route.page:
            try:
                lease = self._parts.quotas.admit(
                    *(caller.user_id, caller.tier, caller.limits),
                    completion=route.limit == "completions",
                    tokens=route.limit == "tokens",
                )
            except Refused as refused:
                exchange.standing = refused.standing
                raise exceeded(refused.standing.retry_after) from None
            exchange.lease = lease
            exchange.on_close(lease.release)
            if route.limit in {"completions", "tokens"}:
                exchange.budget = Budget(exchange, lease, self._parts.quotas, caller.user_id)
        if isinstance(route.access, str) and not (route.or_access and caller.may(route.or_access)):
            caller.require(route.access)

    def _note(self, exchange: Exchange, route: Route, action: str, actor: Actor) -> None:
        """For the audit log, by the route's template: ids and secrets may stand in the path itself."""
        outcome: AuditOutcome = "denied" if action == "permission.denied" else "failure"
        refusal = Refusal(action, actor, "route", f"{route.method} {route.path}", outcome)
        self._parts.refusals.note(refusal, self._parts.clock.now())

    def _key_holder(self, exchange: Exchange) -> Caller:
        # a cookie is for the pages alone: no other site's page can make a browser call the API with it
        header = exchange.environ.get("HTTP_AUTHORIZATION")
        if header is None:
            raise AuthenticationError(
                "This needs an API key: send 'Authorization: Bearer <api key>'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        scheme, _, secret = header.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise AuthenticationError("Only 'Authorization: Bearer <api key>' is understood here.")
        now = int(self._parts.clock.now())
        caller = self._credentials.holder(secret, now, exchange.client)
        self._touch(caller, now)
        return caller

    def _touch(self, caller: Caller, now: int) -> None:
        hour = now // _HOUR
        if caller.key_id is None or self._touched.get(caller.key_id) == hour:
            return
        if len(self._touched) > 10_000:
            self._touched.clear()
        self._touched[caller.key_id] = hour
        keys.touch(self._parts.store, caller.key_id, now)

    # what was sent

    def _take_place(self, exchange: Exchange) -> None:
        if not self._places.acquire(blocking=False):
            raise ServiceUnavailable(
                "All places for completions are taken at the moment.", retry_after=BUSY_RETRY_AFTER
            )
        gauge = self._parts.metrics.streams_open
        gauge.inc()
        exchange.on_close(gauge.dec)
        exchange.on_close(self._places.release)

    def _decode(self, exchange: Exchange, route: Route, arguments: dict[str, str]) -> tuple[bytes, Request[Any, Any]]:
        environ = exchange.environ
        # pages are linked to with parameters of other people's; only the API is strict about them
        lenient = route.openai or not route.path.startswith(API)
        struct, ignored = query.decode(
            environ.get("QUERY_STRING", ""), route.query or query.NoParameters, ignore_unknown=lenient
        )
        raw, value = self._body(exchange, route, ignored)
        form = body.decode_form(raw, environ) if route.form else {}
        request = Request(
            parts=self._parts,
            id=exchange.id,
            environ=environ,
            path=arguments,
            body=value,
            query=struct,
            caller_or_none=exchange.caller,
            metered=exchange.metered,
            budget=exchange.budget,
            raw=raw if route.raw else b"",
            form=form,
            client=exchange.client,
            ignored=tuple(ignored) if route.openai else (),
            disconnected=lambda: exchange.disconnected() or self._ending(),
        )
        return raw, request

    def _body(self, exchange: Exchange, route: Route, ignored: list[str]) -> tuple[bytes, msgspec.Struct | None]:
        if exchange.method in {"GET", "HEAD"}:
            return b"", None
        if route.multipart is not None and (route.body is None or multipart.is_form(exchange.environ)):
            # the handler reads it piece by piece; only who may repeat it has it read twice
            return body.digest(exchange.environ) if HEADER in exchange.environ else b"", None
        if route.multipart is not None:
            return forms.read_json(exchange.environ, route)
        raw = body.read(exchange.environ, route.max_body)
        if route.body is not None:
            value, unknown = body.decode(raw, exchange.environ, route.body, ignore_unknown=route.openai)
            ignored += unknown
            return raw, value
        if route.raw:
            body.require_type(exchange.environ, route.raw)
            return raw, None
        if route.form:
            return raw, None
        if raw.strip() not in {b"", b"{}"}:
            raise ValidationError("This takes no body.", constraint="unknown")
        return raw, None

    # what is done

    def _run(self, exchange: Exchange, route: Route, request: Request[Any, Any], raw: bytes) -> Reply:
        attempt = None
        if route.method == "POST" and exchange.caller is not None:
            attempt = idempotency.attempt(exchange.environ, _scope(exchange.caller), raw)
        if route.writes:
            return self._write(exchange, route, request, attempt)
        if attempt is None:
            return self._render(exchange, route, self._handle(route, request))
        kept = self._running.begin(attempt, int(self._parts.clock.now()))
        return kept or self._once(exchange, route, request, attempt)

    def _write(self, exchange: Exchange, route: Route, request: Request[Any, Any], attempt: Attempt | None) -> Reply:
        with self._parts.store.transaction() as tx:
            if exchange.caller is not None:
                users.require_active(tx, exchange.caller.user_id)
            if attempt is not None and (kept := idempotency.recorded(tx, attempt, tx.now())) is not None:
                return kept
            reply = self._render(exchange, route, route.handler(dataclasses.replace(request, transaction_or_none=tx)))
            if tx.has_changed and not tx.recorded and not route.unaudited:
                raise RuntimeError(f"{route.method} {route.path} changed something and left no row in the audit log")
            if attempt is not None:
                idempotency.record(tx, attempt, reply, route.secret_field)
            return reply

    def _once(self, exchange: Exchange, route: Route, request: Request[Any, Any], attempt: Attempt) -> Reply:
        try:
            outcome = self._handle(route, request)
            reply = self._render(exchange, route, outcome, ended=lambda _: self._running.streamed(attempt))
        except BaseException:
            self._running.drop(attempt)
            raise
        if isinstance(outcome, Stream):
            self._running.streaming(attempt, outcome.id)
        else:
            self._running.answered(attempt, reply)
        return reply

    def _handle(self, route: Route, request: Request[Any, Any]) -> Outcome:
        outcome = route.handler(request)
        if self._ending() and getattr(outcome, "status", 0) == _CLIENT_CLOSED_REQUEST:
            # it was told that nobody waits any more; somebody may
            raise ServiceUnavailable("The server is shutting down.", retry_after=STOPPING_RETRY_AFTER)
        return outcome

    def _render(
        self,
        exchange: Exchange,
        route: Route,
        outcome: Outcome,
        ended: Callable[[Ending], None] = lambda _: None,
    ) -> Reply:
        def frames(stream: Stream) -> Frames:
            around = Surroundings(
                request_id=exchange.id,
                clock=self._parts.clock,
                disconnected=exchange.disconnected,
                stopping=self._ending,
                failed=self._parts.metrics.failed,
            )
            events = EventStream(stream.source, around, ended)
            exchange.on_close(events.close)
            return events

        return responses.render(route, outcome, frames)


def _cost_nothing(exchange: Exchange) -> None:
    """Take the request out of its windows: it asked for nothing new, or got nothing for a reason that is ours."""
    if exchange.lease is not None:
        exchange.lease.give_back()


def _path(environ: dict[str, Any]) -> str:
    try:
        path: str = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise _not_found("") from None
    if not path.isprintable():
        raise _not_found("")
    return path or "/"


def _not_found(path: str) -> NotFound:
    version = path.removeprefix(API).partition("/")[0]
    if path.startswith(API) and version[:1] == "v" and version[1:].isdecimal() and version not in VERSIONS:
        return NotFound(
            f"There is no version {version} of this API. Versions: {', '.join(VERSIONS)}.",
            details={"versions": list(VERSIONS)},
        )
    return NotFound("There is nothing at this path.")


def _scope(caller: Caller) -> str:
    return f"{caller.user_id}/{caller.key_id or caller.grant_id or 'session'}"


def _ignored_header(names: Sequence[str]) -> str:
    """The names, percent-encoded, as many as fit into 512 bytes; of an endless one the beginning."""
    shown: list[str] = []
    left = _IGNORED_BYTES
    for name in names:
        encoded = quote(name[:_IGNORED_NAME], safe=".")
        left -= len(encoded) + 2
        if left < 0:
            break
        shown.append(encoded)
    return ", ".join(shown)
