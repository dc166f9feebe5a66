"""Tools of a chat completion: what was offered, how the model is told, what it calls."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from secureai_appliance.conversations import structured
from secureai_appliance.conversations.answers import Delta, FinishReason, FunctionDelta, ToolCallDelta
from secureai_appliance.conversations.messages import ChatRequest, NamedTool, Tool
from secureai_appliance.conversations.structured import Check
from secureai_appliance.core.errors import InternalError, UnprocessableEntity, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.inference import json_schema, tool_calls
from secureai_appliance.inference.schema_keywords import UnsupportedSchema
from secureai_appliance.inference.template import ChatTemplate, Segment
from secureai_appliance.inference.tokens import Vocabulary
from secureai_appliance.inference.tool_calls import HERMES, MISTRAL, Call, Part, ToolFormat

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Offer:
    """The tools that the model may call. `forced`: it must; `parallel`: more than one at once."""

    tools: tuple[Tool, ...]
    forced: bool
    parallel: bool

    @property
    def names(self) -> list[str]:
        return [tool.function.name for tool in self.tools]


def offer(request: ChatRequest) -> Offer | None:
    """What the request offers; None when nothing may be called.

    Raises ValidationError for a choice that is not among the tools, UnprocessableEntity for a strict function whose
    arguments can't be enforced and for combinations that can't be.
    """
    tools = tuple(request.tools or ())
    names = [tool.function.name for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ValidationError(
                f"There are two functions '{name}'.", field=f"tools.{index}.function.name", constraint="unique"
            )
    choice = None if request.tool_choice is UNSET else request.tool_choice
    if isinstance(choice, NamedTool):
        tools = tuple(tool for tool in tools if tool.function.name == choice.function.name)
    if not tools and (isinstance(choice, NamedTool) or choice == "required"):
        raise ValidationError(
            "The 'tool_choice' field names no function of 'tools'.", field="tool_choice", constraint="enum"
        )
    if not tools or choice == "none":
        return None
    forced = choice == "required" or isinstance(choice, NamedTool)
    _refuse_combinations(request)
    for index, tool in enumerate(tools):
        if tool.function.strict:
            structured.grammar_of(_parameters(tool), f"tools.{index}.function.parameters")
    return Offer(tools, forced, request.parallel_tool_calls is not False)


def _refuse_combinations(request: ChatRequest) -> None:
    if request.response_format is not None and request.response_format.type != "text":
        raise UnprocessableEntity(
            "A 'response_format' can't be enforced while tools may be called: set 'tool_choice' to 'none'.",
            field="response_format",
            constraint="supported",
        )
    if request.stop:
        raise UnprocessableEntity(
            "Stop sequences would cut tool calls: leave 'stop' out.", field="stop", constraint="supported"
        )


def render(template: ChatTemplate, messages: Sequence[dict[str, Any]], tools: Sequence[Tool]) -> list[Segment]:
    """The prompt with tools and earlier calls, as the model's template writes them."""
    form = tool_calls.format_of(template.source)
    described = [_described(tool) for tool in tools]
    if form is None:
        return template.render(tool_calls.generic_messages(messages, described))
    return template.render(_with_short_ids(messages) if form is MISTRAL else messages, tools=described or None)


class ToolUse:
    """How one request's tools are enforced and read, for one model."""

    def __init__(self, offered: Offer, template: ChatTemplate, vocabulary: Vocabulary) -> None:
        self._offer = offered
        self._form = form = tool_calls.format_of(template.source) or HERMES
        self._schemas = {tool.function.name: _enforced(tool) for tool in offered.tools}
        try:
            self.grammar = tool_calls.grammar(form, self._schemas, parallel=offered.parallel)
        except UnsupportedSchema as refusal:
            raise structured.refused(refusal, "tools") from refusal
        self.visible = frozenset(
            tokens[0]
            for mark in form.marks
            if len(tokens := vocabulary.tokenize(mark, control=True)) == 1 and tokens[0] in vocabulary.control
        )

    @property
    def opening(self) -> list[Segment]:
        """What is put into the model's mouth: with it the answer is begun as a call."""
        if self._offer.forced and self._form.opening is not None:
            return [Segment(self._form.opening, trusted=True)]
        return []

    @property
    def trigger(self) -> str | None:
        """The text after which the grammar holds; None: from the start."""
        return None if self._offer.forced else self._form.opening

    @property
    def constrained(self) -> bool:
        """Whether there is a point from which the grammar holds."""
        return self._offer.forced or self._form.opening is not None

    def output(self) -> ToolOutput:
        checked = {t.function.name for t in self._offer.tools if self._offer.forced or t.function.strict}
        checks = {name: structured.check_of(schema) for name, schema in self._schemas.items() if name in checked}
        return ToolOutput(self._offer, self._form, checks)


class ToolOutput:
    """Text as it comes, calls as soon as they are complete."""

    def __init__(self, offered: Offer, form: ToolFormat, checks: Mapping[str, Check]) -> None:
        """`checks`: of the arguments, by function; those without one are the client's to check."""
        self._offer = offered
        self._checks = checks
        self._reader = tool_calls.reader(form, offered.names)
        self._calls: list[Call] = []
        self.done = False
        if offered.forced and form.opening is not None:
            self._reader.feed(form.opening)

    def feed(self, text: str) -> list[Delta]:
        return [] if self.done else self._deltas(self._reader.feed(text))

    def finish(self, reason: FinishReason) -> tuple[list[Delta], FinishReason]:
        """Raises InternalError when a call had to come and none did."""
        parts = [] if self.done else self._reader.finish()
        if self._offer.forced:
            parts = [part for part in parts if isinstance(part, Call)]  # the rest is a call that was cut off
        deltas = self._deltas(parts)
        if reason != "stop" and not self.done:
            return deltas, reason
        if self._offer.forced and not self._calls:
            raise InternalError("The model's answer is no tool call, so it is withheld.", code="invalid_output")
        return deltas, "tool_calls" if self._calls else "stop"

    def _deltas(self, parts: Sequence[Part]) -> list[Delta]:
        deltas: list[Delta] = []
        for part in parts:
            if self.done:
                break
            deltas += [Delta(content=part)] if isinstance(part, str) else self._call(part)
        return deltas

    def _call(self, call: Call) -> list[Delta]:
        if call in self._calls:
            self.done = True  # a small model that may go on repeats itself until it is stopped
            return []
        check = self._checks.get(call.name)
        if check is not None:
            structured.checked(call.arguments, check)
        index = len(self._calls)
        self._calls.append(call)
        self.done = not self._offer.parallel
        head = ToolCallDelta(
            index=index, id=new_id("call"), type="function", function=FunctionDelta(name=call.name, arguments="")
        )
        return [
            Delta(tool_calls=[head]),
            Delta(tool_calls=[ToolCallDelta(index=index, function=FunctionDelta(arguments=call.arguments))]),
        ]


def _described(tool: Tool) -> dict[str, Any]:
    """A tool as templates expect it: some can't do without a description or parameters."""
    return {
        "type": "function",
        "function": {
            "name": tool.function.name,
            "description": tool.function.description or "",
            "parameters": _parameters(tool),
        },
    }


def _parameters(tool: Tool) -> dict[str, Any]:
    return tool.function.parameters or _NO_ARGUMENTS


def _enforced(tool: Tool) -> dict[str, Any]:
    """The schema that calls keep to: any object, where the function isn't strict and its own can't be enforced."""
    parameters = _parameters(tool)
    if tool.function.strict:
        return parameters
    try:
        structured.require_enforceable(parameters, "parameters")
        json_schema.to_grammar(parameters, ("object",))
    except (UnprocessableEntity, UnsupportedSchema):
        return {"type": "object"}
    return parameters


def _with_short_ids(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mistral's templates take only ids of nine letters and digits."""
    made = []
    for message in messages:
        changed = dict(message)
        if "tool_call_id" in message:
            changed["tool_call_id"] = _short(message["tool_call_id"])
        if "tool_calls" in message:
            changed["tool_calls"] = [{**call, "id": _short(call["id"])} for call in message["tool_calls"]]
        made.append(changed)
    return made


def _short(identifier: str) -> str:
    return hashlib.sha256(identifier.encode("utf-8", "replace")).hexdigest()[:9]
