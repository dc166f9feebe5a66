"""`POST /embeddings`."""

from __future__ import annotations

from secureai_appliance.conversations import embeddings, remote_embeddings
from secureai_appliance.conversations.embeddings import EmbeddingList, EmbeddingRequest
from secureai_appliance.conversations.running import ClientGone
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.models import catalogue
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request

_POLL = 0.05


def create(request: Request[EmbeddingRequest, None]) -> EmbeddingList | Answer:
    parts = request.parts
    with parts.store.read() as db:
        row = catalogue.find(db, request.body.model)
    request.caller.require_model(row.id, request.body.model)
    with parts.models.held(row):
        if row.source == "remote":
            try:
                answer = remote_embeddings.embed(
                    parts.models.remotes,
                    row,
                    request.body,
                    request.disconnected,
                    via=request.via,
                    budget=request.budget,
                )
                # a server that tells no counts does not make it free
                used = answer.usage.prompt_tokens or remote_embeddings.estimated(request.body)
            except ClientGone:
                return Answer(CLIENT_CLOSED_REQUEST)
            request.was_read(answer.model, used)
            return answer
        handle = parts.models.embedding(row)
        while (loaded := handle.wait(_POLL)) is None:
            if request.disconnected():
                return Answer(CLIENT_CLOSED_REQUEST)
        try:
            answer = embeddings.embed(
                embeddings.require_embedder(loaded), row, request.body, request.disconnected, budget=request.budget
            )
        except Abandoned as gone:
            request.was_read(row.id, gone.tokens)
            return Answer(CLIENT_CLOSED_REQUEST)
    request.was_read(row.id, answer.usage.prompt_tokens)
    return answer
