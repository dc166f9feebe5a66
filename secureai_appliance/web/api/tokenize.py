"""`POST /tokenize`."""

from __future__ import annotations

from secureai_appliance.conversations import tokenizing
from secureai_appliance.conversations.tokenizing import TokenizeRequest, TokenList
from secureai_appliance.models import catalogue
from secureai_appliance.web.answers import Answer
from secureai_appliance.web.api.completions import CLIENT_CLOSED_REQUEST
from secureai_appliance.web.request import Request

_POLL = 0.05


def create(request: Request[TokenizeRequest, None]) -> TokenList | Answer:
    parts = request.parts
    with parts.store.read() as db:
        row = catalogue.find(db, request.body.model)
    request.caller.require_model(row.id, request.body.model)
    with parts.models.held(row):
        handle = parts.models.of_any_kind(row)
        while (loaded := handle.wait(_POLL)) is None:
            if request.disconnected():
                return Answer(CLIENT_CLOSED_REQUEST)
        return tokenizing.tokenize(loaded, row, request.body)
