"""`POST /chat/completions`: whole or as a stream."""

from __future__ import annotations

import msgspec

from secureai_appliance.conversations import completions
from secureai_appliance.conversations.answers import ChatCompletion
from secureai_appliance.conversations.completions import ClientGone, Comment, Completion
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.models import catalogue
from secureai_appliance.web.answers import Answer, Stream
from secureai_appliance.web.metrics import Metrics
from secureai_appliance.web.request import Request

CLIENT_CLOSED_REQUEST = 499
"""For the log alone: nobody is there to read it."""

_encode = msgspec.json.Encoder().encode


class ChunkSource:
    """The chunks of a completion as the events of a stream."""

    def __init__(self, completion: Completion, metrics: Metrics) -> None:
        self._completion = completion
        self._metrics = metrics

    def next(self, timeout: float) -> bytes | str | None:
        item = self._completion.next(timeout)
        if isinstance(item, Comment):
            return item.text
        return None if item is None else _encode(item)

    def close(self) -> None:
        _close(self._completion, self._metrics)


def create(request: Request[ChatRequest, None]) -> ChatCompletion | Stream | Answer:
    parts, body = request.parts, request.body
    with parts.store.read() as db:
        row = catalogue.find(db, body.model)
    completion = completions.start(parts.models, row, request.caller, body, parts.clock)
    streamed = False
    try:
        completion.begin()
        if body.stream:
            streamed = True
            return Stream(ChunkSource(completion, parts.metrics), id=completion.id)
        return completion.whole(request.disconnected)
    except ClientGone:
        return Answer(CLIENT_CLOSED_REQUEST)
    finally:
        if not streamed:  # a stream is closed by whoever sends it
            _close(completion, parts.metrics)


def _close(completion: Completion, metrics: Metrics) -> None:
    completion.close()
    if completion.usage is not None:
        metrics.tokens_prompt.labels(completion.model).inc(completion.usage.prompt_tokens)
        metrics.tokens_generated.labels(completion.model).inc(completion.usage.completion_tokens)
