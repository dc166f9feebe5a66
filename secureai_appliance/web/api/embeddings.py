"""`POST /embeddings`."""

from __future__ import annotations

from secureai_appliance.conversations import embeddings
from secureai_appliance.conversations.embeddings import EmbeddingList, EmbeddingRequest
from secureai_appliance.inference.embedder import Abandoned
from secureai_appliance.models import catalogue
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request

_POLL = 0.05


def create(request: Request[EmbeddingRequest, None]) -> EmbeddingList | Answer:
    parts = request.parts
    with parts.store.read() as db:
        row = catalogue.find(db, request.body.model)
    with parts.models.held(row):
        handle = parts.models.embedding(row)
        while (loaded := handle.wait(_POLL)) is None:
            if request.disconnected():
                return Answer(CLIENT_CLOSED_REQUEST)
        try:
            answer = embeddings.embed(embeddings.require_embedder(loaded), row, request.body, request.disconnected)
        except Abandoned:
            return Answer(CLIENT_CLOSED_REQUEST)
    parts.metrics.tokens_embedded.labels(row.id).inc(answer.usage.prompt_tokens)
    return answer
