"""Questions to documents, and what is said to them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.people import Person
from tests.support.running import Response

NOT_FOUND = "I found nothing about this in the documents."
FLUID = "How often is brake fluid changed?"


def ask(by: Person, model_id: str, base: str | None, question: str = FLUID, **fields: Any) -> Response:
    body: dict[str, Any] = {"model": model_id, "messages": [{"role": "user", "content": question}]}
    body |= {} if base is None else {"knowledge_base_ids": [base]}
    return by.ask("POST", "/chat/completions", body | fields)


def said(answer: Response) -> tuple[str, dict[str, Any]]:
    """The text of an answer, streamed or not, and what it has besides."""
    if answer.headers["content-type"].startswith("application/json"):
        assert answer.status == 200, answer.body
        return answer.json["choices"][0]["message"]["content"], answer.json
    assert answer.events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in answer.events[:-1]]
    assert not [chunk for chunk in chunks if "error" in chunk], chunks
    final = [chunk for chunk in chunks if chunk["choices"] and chunk["choices"][0].get("finish_reason")]
    assert len(final) == 1
    assert not [chunk for chunk in chunks if "citations" in chunk and chunk is not final[0]]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"]), final[0]
