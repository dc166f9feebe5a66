"""A completion in which the appliance itself runs the tools: rounds of asking the model and doing what it calls.

Each round is a completion of its own, local or remote; what is told to the client is one answer. Calls of the inner
rounds are no `tool_calls` of that answer, because nobody else has to make them: they are told as `tool_runs`. What a
tool says is text from outside: it becomes a message of the role `tool`, which never gives control tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from secureai_appliance.conversations.answers import (
    ChatCompletion,
    Chunk,
    ChunkChoice,
    Delta,
    FinishReason,
    Gathered,
    PromptTokensDetails,
    ToolCallDelta,
    ToolError,
    ToolRun,
    Usage,
)
from secureai_appliance.conversations.messages import (
    CalledFunction,
    CalledTool,
    ChatRequest,
    Message,
    ToolFunction,
)
from secureai_appliance.conversations.messages import Tool as Offered
from secureai_appliance.conversations.running import ClientGone, Comment
from secureai_appliance.conversations.toolbox.knowledge_search import Asker
from secureai_appliance.conversations.toolbox.shapes import Function, Tool
from secureai_appliance.conversations.toolbox.toolbox import Bounds, Running, Toolbox, ToolResult
from secureai_appliance.conversations.turns import Completing
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import UnprocessableEntity
from secureai_appliance.core.ids import new_id

_POLL = 0.05
_MOST_CALLS = 8
# of the context, for what the tools of one round say: a token is hardly ever less than a character
_SHARE_OF_CONTEXT = 0.25
_LEAST_CHARS = 200

ToolChoice = Literal["auto", "required", "none"]


@dataclass(frozen=True)
class Kit:
    """The tools of one answer, with the rights of whoever asks. `assistant_id` for the audit log."""

    toolbox: Toolbox
    asker: Asker
    tools: Sequence[Tool]
    assistant_id: str
    context_length: int | None

    @property
    def searches(self) -> bool:
        """Whether the model looks into documents by itself."""
        return any(tool.builtin == "knowledge_search" for tool in self.tools)

    @property
    def functions(self) -> dict[str, tuple[Tool, Function]]:
        """By the name under which the model calls them; of two with one name the first."""
        found: dict[str, tuple[Tool, Function]] = {}
        for tool in self.tools:
            for function in tool.functions:
                found.setdefault(function.name, (tool, function))
        return found


class Loop:
    """An answer that may take several rounds; to whoever sends it, a completion like any other."""

    def __init__(
        self,
        start: Callable[[ChatRequest], Completing],
        request: ChatRequest,
        kit: Kit,
        clock: Clock,
        first_choice: ToolChoice | None = None,
        *,
        spend: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`start` makes a round. `first_choice`: `tool_choice` of the first one, where the request says nothing.
        `spend` is told each round's tokens before the next. Raises UnprocessableEntity for what can't go with tools.
        """
        if (request.n or 1) > 1:
            raise UnprocessableEntity(
                "An assistant with tools gives one answer: leave 'n' out.", field="n", constraint="supported"
            )
        self._start = start
        self._spend = spend
        self._request = request
        self._kit = kit
        self._functions = kit.functions
        self._rounds_left: int = kit.toolbox.setting("max_rounds")
        self._deadline = time.monotonic() + kit.toolbox.setting("max_seconds")
        choice = request.tool_choice if request.tool_choice is not UNSET and request.tool_choice else first_choice
        self._inner = start(self._round(choice or "auto"))
        self.id = self._inner.id
        self.model = self._inner.model
        self.created = int(clock.now())
        self.turns: list[Message] = []
        """Calls and results so far, as they stand in the conversation."""
        self.runs: list[ToolRun] = []
        self._spent: list[Usage] = []
        self._counted = False
        self._done: set[tuple[str, str]] = set()
        self._waiting: deque[CalledTool] = deque()
        self._running: tuple[CalledTool, Running] | None = None
        self._pending: deque[Chunk] = deque()
        self._calls: dict[int, CalledTool] = {}
        self._text: list[str] = []
        self._reason: FinishReason | None = None
        self._like: Chunk | None = None
        self._said_role = False
        self._ended = False

    @property
    def usage(self) -> Usage | None:
        """The sum over the rounds, as far as they are."""
        own = None if self._counted else self._inner.usage
        rounds = [*self._spent, *([own] if own is not None else [])]
        return _sum(rounds) if rounds else None

    @property
    def unfinished(self) -> Gathered:
        """Of the round that is under way."""
        return self._inner.unfinished

    def begin(self) -> bool:
        """As a completion's."""
        return self._inner.begin()

    def next(self, timeout: float) -> Chunk | Comment | None:
        """As a completion's. A call is told twice: when it begins, and with what came of it."""
        if self._pending:
            return self._pending.popleft()
        if self._ended:
            raise StopIteration
        if self._running is not None:
            self._look(timeout)
        else:
            try:
                item = self._inner.next(timeout)
            except StopIteration:
                self._round_over()
            else:
                if not isinstance(item, Chunk):
                    return item
                self._take(item)
        return self._pending.popleft() if self._pending else None

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        """As a completion's."""
        while True:
            answer = self._inner.whole(disconnected)
            message = answer.choices[0].message
            called = [] if message.tool_calls is UNSET else message.tool_calls
            self._calls = {
                number: CalledTool(
                    id=call.id, function=CalledFunction(name=call.function.name, arguments=call.function.arguments)
                )
                for number, call in enumerate(called)
            }
            self._text = [message.content or ""]
            self._reason = answer.choices[0].finish_reason
            if not self._goes_on():
                usage = self.usage or answer.usage
                return msgspec.structs.replace(
                    answer, id=self.id, created=self.created, usage=usage, tool_runs=self.runs or UNSET
                )
            self._call_tools()
            while self._running is not None:
                if disconnected():
                    raise ClientGone
                self._look(_POLL)

    def close(self) -> None:
        """Stop wherever it stands. More than once is harmless."""
        if self._running is not None:
            self._running[1].cancel()
        self._inner.close()

    # --- rounds

    def _round(self, choice: Any, turns: Sequence[Message] = ()) -> ChatRequest:
        offered = [
            Offered(
                type="function",
                function=ToolFunction(name=name, description=function.description, parameters=function.parameters),
            )
            for name, (_, function) in self._functions.items()
        ]
        parallel = self._request.parallel_tool_calls
        if parallel is None and choice == "required":
            # a small model that has to call and may call again hardly ever ends
            parallel = False
        return msgspec.structs.replace(
            self._request,
            messages=[*self._request.messages, *turns],
            tools=offered,
            tool_choice=choice,
            parallel_tool_calls=parallel,
        )

    def _goes_on(self) -> bool:
        return bool(self._calls) and self._reason == "tool_calls"

    def _call_tools(self) -> None:
        calls = list(self._calls.values())
        text = "".join(self._text)
        self.turns.append(Message(role="assistant", content=text or None, tool_calls=calls))
        self._waiting = deque(calls)
        self._rounds_left -= 1
        self._next_call()

    def _next_call(self) -> None:
        """Begin with the next call; with the next round when there is none."""
        while self._waiting:
            call = self._waiting.popleft()
            known = self._functions.get(call.function.name)
            refusal = self._refusal(call)
            if refusal is None and known is not None:
                self._running = (call, self._begun(call, *known))
                self._tell(self._run_of(call, None))
                return
            self._finished(call, _refused(refusal or ("unknown_tool", "There is no such tool.")))
        self._running = None
        self._next_round()

    def _refusal(self, call: CalledTool) -> tuple[str, str] | None:
        if len(self._waiting) + 1 + _MOST_CALLS <= len(self._calls):
            return "too_many", f"At most {_MOST_CALLS} calls are made at a time."
        if time.monotonic() >= self._deadline:
            return "timeout", "There is no time left for tools."
        if (call.function.name, call.function.arguments) in self._done:
            return "repeated", "This call was made already: its result stands above."
        return None

    def _begun(self, call: CalledTool, tool: Tool, function: Function) -> Running:
        seconds = max(0.1, self._deadline - time.monotonic())
        chars = self._kit.toolbox.max_chars
        if self._kit.context_length:
            share = int(self._kit.context_length * _SHARE_OF_CONTEXT) // max(1, len(self._calls))
            chars = min(chars, max(_LEAST_CHARS, share))
        return self._kit.toolbox.start(tool, function, call.function.arguments, Bounds(seconds, chars), self._kit.asker)

    def _look(self, timeout: float) -> None:
        """See whether the call that runs has ended."""
        assert self._running is not None
        call, running = self._running
        result = running.poll(timeout)
        if result is None:
            if time.monotonic() >= self._deadline:
                running.cancel()
            return
        tool, _ = self._functions[call.function.name]
        self._kit.toolbox.note(self._kit.asker.caller, tool, result, self._kit.assistant_id)
        self._finished(call, result)
        self._next_call()

    def _finished(self, call: CalledTool, result: ToolResult) -> None:
        self._done.add((call.function.name, call.function.arguments))
        said = result.result if result.error is None else f"Error: {result.error.message}"
        self.turns.append(Message(role="tool", tool_call_id=call.id, name=call.function.name, content=said or ""))
        run = self._run_of(call, result)
        self.runs.append(run)
        self._tell(run)

    def _next_round(self) -> None:
        """Ask again with what the tools said; without tools after rounds enough, or when nothing new was called."""
        if (own := self._inner.usage) is not None:
            self._spent.append(own)
            self._spend(own.total_tokens)
        self._counted = True
        self._inner.close()
        latest = self.runs[-len(self._calls) :]
        stuck = all(run.error is not None and run.error.code in {"repeated", "unknown_tool"} for run in latest)
        last = self._rounds_left <= 0 or stuck or time.monotonic() >= self._deadline
        self._calls, self._text, self._reason = {}, [], None
        self._inner = self._start(self._round("none" if last else "auto", self.turns))
        self._counted = False

    # --- in a stream

    def _take(self, chunk: Chunk) -> None:
        """Pass on what belongs to the one answer; keep what belongs to the round."""
        self._like = self._like or chunk
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        for part in choice.delta.tool_calls or ():
            self._keep_call(part)
        if choice.finish_reason is not None:
            self._reason = choice.finish_reason
        self._text.append(choice.delta.content or "")
        role = None if self._said_role else choice.delta.role
        if not choice.delta.content and role is None and choice.logprobs is None:
            return
        self._said_role = self._said_role or role is not None
        delta = Delta(role=role, content=choice.delta.content)
        shown = ChunkChoice(index=0, delta=delta, logprobs=choice.logprobs)
        self._pending.append(msgspec.structs.replace(chunk, id=self.id, created=self.created, choices=[shown]))

    def _keep_call(self, part: ToolCallDelta) -> None:
        call = self._calls.get(part.index)
        if call is None:
            call = self._calls[part.index] = CalledTool(
                id=part.id or new_id("call"), function=CalledFunction(name="", arguments="")
            )
        if part.function is not None:
            call.function.name += part.function.name or ""
            call.function.arguments += part.function.arguments or ""

    def _round_over(self) -> None:
        if self._goes_on():
            self._call_tools()
            return
        self._ended = True
        self._pending.append(self._chunk([ChunkChoice(index=0, delta=Delta(), finish_reason=self._reason or "stop")]))
        if self._request.counts_usage:
            last = self._chunk([])
            last.usage = self.usage
            self._pending.append(last)

    def _tell(self, run: ToolRun) -> None:
        if self._request.stream:
            chunk = self._chunk([ChunkChoice(index=0, delta=Delta())])
            chunk.tool_runs = [run]
            self._pending.append(chunk)

    def _chunk(self, choices: list[ChunkChoice]) -> Chunk:
        return Chunk(
            id=self.id,
            object="chat.completion.chunk",
            created=self.created,
            model=self.model,
            system_fingerprint="" if self._like is None else self._like.system_fingerprint,
            choices=choices,
            usage=None if self._request.counts_usage else UNSET,
        )

    def _run_of(self, call: CalledTool, result: ToolResult | None) -> ToolRun:
        known = self._functions.get(call.function.name)
        return ToolRun(
            id=call.id,
            tool_id=None if known is None else known[0].id,
            name=call.function.name,
            arguments=call.function.arguments,
            status="running" if result is None else "done" if result.ok else "failed",
            result=None if result is None else result.result,
            error=None if result is None else result.error,
            duration_ms=None if result is None else result.duration_ms,
        )


def _refused(why: tuple[str, str]) -> ToolResult:
    error = ToolError(code=why[0], message=why[1])
    return ToolResult(ok=False, result=None, error=error, truncated=False, duration_ms=0)


def _sum(rounds: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in rounds),
        completion_tokens=sum(usage.completion_tokens for usage in rounds),
        total_tokens=sum(usage.total_tokens for usage in rounds),
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=sum(usage.prompt_tokens_details.cached_tokens for usage in rounds)
        ),
    )
