"""`POST /chat/completions`: whole or as a stream."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from secureai_appliance.conversations import completions
from secureai_appliance.conversations.answers import ChatCompletion
from secureai_appliance.conversations.completions import Completion
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.conversations.running import ClientGone, Comment
from secureai_appliance.models import catalogue
from secureai_appliance.web.answers import Answer, Stream
from secureai_appliance.web.metrics import Metrics
from secureai_appliance.web.request import Request

CLIENT_CLOSED_REQUEST = 499
"""For the log alone: nobody is there to read it."""

_encode = msgspec.json.Encoder().encode


class ChunkSource:
    """The chunks of a completion as the events of a stream."""

    def __init__(self, completion: Completion, held: ExitStack) -> None:
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
        row = catalogue.find(db, body.model)
    with ExitStack() as held:
        held.enter_context(parts.models.held(row))
        completion = completions.start(parts.models, row, request.caller, body, parts.clock)
        held.callback(_close, completion, parts.metrics)
        try:
            completion.begin()
            if body.stream:
                # a stream is closed by whoever sends it
                return Stream(ChunkSource(completion, held.pop_all()), id=completion.id)
            return completion.whole(request.disconnected)
        except ClientGone:
            return Answer(CLIENT_CLOSED_REQUEST)


def _close(completion: Completion, metrics: Metrics) -> None:
    completion.close()
    if completion.usage is not None:
        metrics.tokens_prompt.labels(completion.model).inc(completion.usage.prompt_tokens)
        metrics.tokens_generated.labels(completion.model).inc(completion.usage.completion_tokens)
