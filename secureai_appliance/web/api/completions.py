"""`POST /chat/completions` and `POST /completions`: whole or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Protocol, TypeVar

import msgspec

from secureai_appliance.conversations import assistants, completions, remote, text_completions
from secureai_appliance.conversations.answering import Answering
from secureai_appliance.conversations.answers import ChatCompletion, Usage
from secureai_appliance.conversations.assistants import Asked, Assistant
from secureai_appliance.conversations.completions import Instructions
from secureai_appliance.conversations.grounded import Grounded, NotFoundAnswer
from secureai_appliance.conversations.grounding import Ground, Grounding, bases_of
from secureai_appliance.conversations.loop import Kit, Loop
from secureai_appliance.conversations.messages import ChatRequest, Message, refuse_unsupported
from secureai_appliance.conversations.room import room_of
from secureai_appliance.conversations.running import ClientGone, Comment
from secureai_appliance.conversations.text_completions import TextCompletion, TextRequest
from secureai_appliance.conversations.toolbox.knowledge_search import Asker
from secureai_appliance.conversations.toolbox.registry import SHELF
from secureai_appliance.conversations.toolbox.shapes import Tool
from secureai_appliance.conversations.turns import Completing, Turn, Unkept
from secureai_appliance.core.errors import NotFound
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.web.answers import Answer, Stream
from secureai_appliance.web.request import Request

T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499
"""For the log alone: nobody is there to read it."""

_encode = msgspec.json.Encoder().encode


class Generating(Protocol):
    """A completion of either kind, under way."""

    id: str
    model: str

    @property
    def usage(self) -> Usage | None: ...

    def begin(self) -> bool: ...

    def next(self, timeout: float) -> msgspec.Struct | Comment | None: ...

    def close(self) -> None: ...


class ChunkSource:
    """The chunks of a completion as the events of a stream."""

    def __init__(self, completion: Generating, held: ExitStack) -> None:
        """`held`: what is given back at the end."""
        self._completion = completion
        self._held = held

    def next(self, timeout: float) -> bytes | str | None:
        item = self._completion.next(timeout)
        if isinstance(item, Comment):
            return item.text
        return None if item is None else _encode(item)

    def close(self) -> None:
        self._held.close()


def create(request: Request[ChatRequest, None]) -> ChatCompletion | Stream | Answer:
    parts, body = request.parts, request.body
    with parts.store.read() as db:
        found = assistants.asked(db, request.caller, body)
    row, assistant = found.row, found.assistant
    assistant_id = None if assistant is None else assistant.id
    request.metered.assistant_id = assistant_id or ""
    instructions = None
    # the client's own tools stand before them in some templates, and are nobody else's business
    if assistant is not None and assistant.system_prompt and not body.tools:
        instructions = Instructions(assistant.id, assistant.system_prompt)

    def start(asked: ChatRequest) -> Completing:
        if row.source == "remote":
            return remote.chat(parts.models.remotes, row, asked, parts.clock, via=request.via, budget=request.budget)
        return completions.start(
            parts.models,
            row,
            request.caller,
            asked,
            parts.clock,
            budget=request.budget,
            instructions=instructions,
            longest=parts.configs.value("completions.default_max_tokens") or None,
        )

    with ExitStack() as held:
        held.enter_context(parts.models.held(row))
        turn = parts.turns.join(request.caller, body, keep=parts.configs.value("chats.store_completions"))
        held.callback(turn.close)
        try:
            completion = _answering(request, found, turn, start)
        except Abandoned:
            return Answer(CLIENT_CLOSED_REQUEST)
        return _answer(request, completion, completion.whole, held, streamed=bool(body.stream))


def _answering(
    request: Request[ChatRequest, None], found: Asked, turn: Turn | Unkept, start: Callable[[ChatRequest], Completing]
) -> Answering:
    """The completion with what it rests on, its tools, and what becomes of it. Raises Abandoned."""
    parts, row, assistant = request.parts, found.row, found.assistant
    asked = assistants.applied(assistant, turn.request)
    with parts.store.read() as db:
        base_ids = bases_of(db, request.caller, asked, assistant)
    # tools of the request are the client's to call
    kit = None if assistant is None or asked.tools else _kit(request, row, assistant, base_ids)
    ground: Ground | None = None
    if kit is not None and kit.searches:
        ground = Ground(asked, kit.asker.sources, None)
    elif base_ids is not None:
        offered = [function for _, function in kit.functions.values()] if kit is not None else asked.tools
        room = room_of(parts.models, row, asked, _encode(offered).decode() if offered else "")
        grounding = Grounding(
            *(parts.store, parts.models, parts.configs.values(), request.caller),
            abandoned=request.disconnected,
            used=request.has_read,
        )
        ground = grounding.ground(asked, base_ids, room, kept=isinstance(turn, Turn))
    asked = asked if ground is None else ground.request
    completion: Completing
    steps: list[Message] = []
    if ground is not None and ground.is_empty and not _asks_all_the_same(asked, kit):
        refuse_unsupported(asked)
        completion = NotFoundAnswer(row.id, asked, parts.configs.value("knowledge.not_found_text"), parts.clock)
    elif kit is None or assistant is None:
        completion = start(asked)
    else:
        choice = assistant.parameters.tool_choice
        completion = loop = Loop(start, asked, kit, parts.clock, choice, spend=_spender(request))
        steps = loop.turns
    assistant_id = None if assistant is None else assistant.id
    if ground is None:
        return Answering(completion, turn, assistant_id, steps)
    grounded = Grounded(completion, ground, asked)
    return Answering(grounded, turn, assistant_id, steps, grounded.citations, retrieval=ground.retrieved)


def _asks_all_the_same(asked: ChatRequest, kit: Kit | None) -> bool:
    """Whether the model is asked though the documents say nothing: tools may know."""
    chosen = None if asked.retrieval is None else asked.retrieval.when_missing
    if chosen is None:
        return kit is not None or bool(asked.tools)
    return chosen == "ask_model"


def create_text(request: Request[TextRequest, None]) -> TextCompletion | Stream | Answer:
    """`POST /completions`."""
    parts, body = request.parts, request.body
    row = _model(request, body.model)
    with ExitStack() as held:
        held.enter_context(parts.models.held(row))
        completion = (
            remote.text(parts.models.remotes, row, body, parts.clock, via=request.via, budget=request.budget)
            if row.source == "remote"
            else text_completions.start(parts.models, row, request.caller, body, parts.clock, budget=request.budget)
        )
        return _answer(request, completion, completion.whole, held, streamed=bool(body.stream))


def _spender(request: Request[Any, None]) -> Callable[[int], None]:
    return (lambda _: None) if request.budget is None else request.budget.spend


def _kit(
    request: Request[ChatRequest, None], row: ModelRow, assistant: Assistant, base_ids: Sequence[str] | None
) -> Kit | None:
    """The assistant's tools, as far as the caller may use them; None when there are none."""
    caller = request.caller
    tools: list[Tool] = []
    with request.parts.store.read() as db:
        for tool_id in assistant.tool_ids:
            with suppress(NotFound):
                tools.append(SHELF.get(db, caller, tool_id))
    if not any(tool.functions for tool in tools) or not caller.may("tools:invoke"):
        return None
    context = request.parts.models.show(row).context_length
    asker = Asker(caller, base_ids, used=request.has_read)
    return Kit(request.parts.toolbox, asker, tools, assistant.id, context)


def _model(request: Request[Any, None], name: str) -> ModelRow:
    with request.parts.store.read() as db:
        row = catalogue.find(db, name)
    request.caller.require_model(row.id, name)
    return row


def _answer(
    request: Request[Any, None],
    completion: Generating,
    whole: Callable[[Callable[[], bool]], T],
    held: ExitStack,
    *,
    streamed: bool,
) -> T | Stream | Answer:
    held.callback(_close, completion, request)
    try:
        completion.begin()
        if streamed:
            # a stream is closed by whoever sends it
            return Stream(ChunkSource(completion, held.pop_all()), id=completion.id)
        return whole(request.disconnected)
    except ClientGone:
        return Answer(CLIENT_CLOSED_REQUEST)


def _close(completion: Generating, request: Request[Any, None]) -> None:
    completion.close()
    metrics, metered = request.parts.metrics, request.metered
    metered.model = completion.model
    if completion.usage is not None:
        metered.prompt_tokens = completion.usage.prompt_tokens
        metered.completion_tokens = completion.usage.completion_tokens
        metrics.tokens_prompt.labels(completion.model).inc(completion.usage.prompt_tokens)
        metrics.tokens_generated.labels(completion.model).inc(completion.usage.completion_tokens)
