"""Tools at work: each call in a thread of its own, within its time and size, with the rights of whoever asks."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations.answers import ToolError
from secureai_appliance.conversations.toolbox import builtins, http_tool, knowledge_search, mcp, parameters
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.conversations.toolbox.knowledge_search import Asker
from secureai_appliance.conversations.toolbox.outside import Outside, failure_of
from secureai_appliance.conversations.toolbox.registry import Registry, functions_listed
from secureai_appliance.conversations.toolbox.shapes import Function, Tool
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.network import Call, NetworkError, Timeouts
from secureai_appliance.governance import audit
from secureai_appliance.store import Store

if TYPE_CHECKING:
    from secureai_appliance.models.registry import Models

log = logging.getLogger(__name__)


class ToolResult(msgspec.Struct, kw_only=True):
    """What came of a call. `result` is cut to the setting `tools.max_result_chars`; `duration_ms` is rounded up."""

    ok: bool
    result: str | None
    error: ToolError | None
    truncated: bool
    duration_ms: int


@dataclass(frozen=True)
class Bounds:
    """Of one call: seconds (the tool's own at most), and characters of the result."""

    seconds: float
    chars: int


class Running:
    """One call at work. `poll` from one thread, `cancel` from any."""

    def __init__(self, work: Callable[[Running], str], bounds: Bounds) -> None:
        self._work = work
        self._bounds = bounds
        self._lock = threading.Lock()
        self._call: Call | None = None
        self._cancelled: ToolFailure | None = None
        self._told: queue.SimpleQueue[ToolResult] = queue.SimpleQueue()
        self._began = time.monotonic()
        threading.Thread(target=self._run, name="tool", daemon=True).start()

    def poll(self, timeout: float) -> ToolResult | None:
        """What came of it; None when it still runs after `timeout` seconds. It ends in time, whatever happens."""
        try:
            return self._told.get(timeout=timeout)
        except queue.Empty:
            return None

    def cancel(self) -> None:
        """End it; what it asks sees a hang-up."""
        with self._lock:
            self._cancelled = ToolFailure("cancelled", "The call was cancelled.")
            if self._call is not None:
                self._call.cancel()

    def using(self, call: Call) -> Call:
        """From now on `cancel` ends this request."""
        with self._lock:
            if self._cancelled is not None:
                raise self._cancelled
            self._call = call
        return call

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancelled is not None

    @property
    def left(self) -> float:
        """Seconds that the call may still take. Raises ToolFailure when there are none."""
        left = self._bounds.seconds - (time.monotonic() - self._began)
        if left <= 0:
            raise ToolFailure("timeout", f"The tool took longer than {self._bounds.seconds:g} seconds.")
        return left

    def _run(self) -> None:
        text: str | None = None
        failure: ToolFailure | None = None
        try:
            text = self._work(self)
        except ToolFailure as cause:
            failure = cause
        except NetworkError as cause:
            failure = failure_of(cause)
        except Exception:
            # a defect of ours must not leave an answer waiting
            log.exception("a tool failed")
            failure = ToolFailure("internal_error", "Something went wrong on our side.")
        self._told.put(self._result(text, failure))

    def _result(self, text: str | None, failure: ToolFailure | None) -> ToolResult:
        shown, most = text, self._bounds.chars
        if text is not None and len(text) > most:
            shown = f"{text[:most]}\n[{len(text) - most} more characters are left out]"
        return ToolResult(
            ok=failure is None,
            result=shown,
            error=None if failure is None else ToolError(code=failure.code, message=failure.message),
            truncated=shown != text,
            duration_ms=int((time.monotonic() - self._began) * 1000) + 1,
        )


class Toolbox:
    """Calls tools. Safe to use from any thread."""

    def __init__(
        self,
        store: Store,
        models: Models,
        registry: Registry,
        outside: Outside,
        *,
        values: Callable[[], Mapping[str, Any]],
        clock: Clock,
    ) -> None:
        self.registry = registry
        self._models = models
        self._store = store
        self._outside = outside
        self._values = values
        self._clock = clock

    @property
    def max_chars(self) -> int:
        """Characters of a result, as the settings say now."""
        most: int = self._values()["tools.max_result_chars"]
        return most

    def setting(self, name: str) -> Any:
        """Of the group `tools`."""
        return self._values()[f"tools.{name}"]

    def start(
        self, tool: Tool, function: Function, arguments: str | dict[str, Any], bounds: Bounds, asker: Asker
    ) -> Running:
        """Call a function of a tool, with arguments as a value or as the JSON text that a model wrote."""
        place = tool.http or tool.mcp
        seconds = bounds.seconds if place is None else min(bounds.seconds, place.timeout)

        def work(running: Running) -> str:
            if isinstance(arguments, str):
                checked = parameters.read_arguments(arguments, function.parameters)
            else:
                parameters.check_arguments(arguments, function.parameters)
                checked = arguments
            if tool.builtin == "knowledge_search":
                return self._find(running, asker, checked["query"], bounds.chars)
            return self._call(running, tool, function, checked)

        return Running(work, Bounds(seconds, bounds.chars))

    def listed(self, name: str, url: str, headers: Mapping[str, str], seconds: float) -> list[Function]:
        """What an MCP server offers now, under the tool's name. Raises ToolFailure."""
        running = Running(lambda _: "", Bounds(seconds, 0))
        try:
            session = mcp.Session(self._open(running, url, headers))
            found = [(each.name, each.description or "", each.input_schema) for each in session.functions()]
            self._leave(session)
        except NetworkError as cause:
            raise failure_of(cause) from cause
        functions, refused = functions_listed(name, found)
        if refused:
            log.info("%d functions of an MCP server can't be offered", len(refused))
        return functions

    def note(self, caller: Caller, tool: Tool, result: ToolResult, by: str) -> None:
        """Leave a row in the audit log: it was done in the caller's name. `by`: an assistant's id."""
        details: audit.Details = {
            "type": tool.type,
            "error": None if result.error is None else result.error.code,
            **({"assistant_id": by} if by else {}),
        }
        with self._store.transaction() as tx:
            outcome: audit.Outcome = "success" if result.ok else "failure"
            audit.record(tx, caller.actor, "tool.invoked", "tool", tool.id, details=details, outcome=outcome)

    def _find(self, running: Running, asker: Asker, query: str, chars: int) -> str:
        return knowledge_search.find(
            self._store,
            self._models,
            asker,
            query,
            values=self._values(),
            chars=chars,
            abandoned=lambda: running.cancelled,
        )

    def _call(self, running: Running, tool: Tool, function: Function, arguments: dict[str, Any]) -> str:
        if tool.builtin is not None and tool.builtin != "knowledge_search":
            return builtins.run(tool.builtin, arguments, self._clock)
        with self._store.read() as db:
            headers = self.registry.headers(db, tool.id)
        if tool.mcp is not None:
            session = mcp.Session(self._open(running, tool.mcp.url, headers))
            text = session.call(function.name.removeprefix(f"{tool.name}_"), arguments)
            self._leave(session)
            return text
        assert tool.http is not None
        made = http_tool.prepare(tool.http.method, tool.http.url, tool.http.body, arguments)
        sent = {**({} if made.body is None else {"Content-Type": "application/json"}), **headers}
        with self._open(running, made.url, {})(made.method, sent, made.body) as call:
            call.open()
            return http_tool.read(call.status, call.headers, b"".join(call))

    def _open(self, running: Running, url: str, headers: Mapping[str, str]) -> mcp.Open:
        def open_(method: str, more: Mapping[str, str], body: bytes | None) -> Call:
            left = running.left
            timeouts = Timeouts(connect=min(5.0, left), read=left, total=left)
            return running.using(self._outside.stream(method, url, {**headers, **more}, body, timeouts))

        return open_

    def _leave(self, session: mcp.Session) -> None:
        try:
            session.close()
        except (NetworkError, ToolFailure) as cause:
            # the result is there; the other server forgets the session by itself in time
            log.info("an MCP session was not closed: %s", cause.message)
