"""`POST /rerank`."""

from __future__ import annotations

from secureai_appliance.conversations import reranking
from secureai_appliance.conversations.reranking import RerankList, RerankRequest
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.models import catalogue
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request

_POLL = 0.05


def create(request: Request[RerankRequest, None]) -> RerankList | Answer:
    parts = request.parts
    with parts.store.read() as db:
        row = catalogue.find(db, request.body.model)
    request.caller.require_model(row.id, request.body.model)
    with parts.models.held(row):
        handle = parts.models.rerank(row)
        while (loaded := handle.wait(_POLL)) is None:
            if request.disconnected():
                return Answer(CLIENT_CLOSED_REQUEST)
        try:
            answer = reranking.rerank(
                reranking.require_reranker(loaded), row, request.body, request.disconnected, budget=request.budget
            )
        except Abandoned as gone:
            request.was_read(row.id, gone.tokens)
            return Answer(CLIENT_CLOSED_REQUEST)
    request.was_read(row.id, answer.usage.prompt_tokens)
    return answer
