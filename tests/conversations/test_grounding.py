"""What is looked for to answer a question."""

from __future__ import annotations

from secureai_appliance.conversations.grounding import queries
from secureai_appliance.conversations.messages import Message


def said(*texts: str) -> list[Message]:
    return [Message(role="user", content=text) for text in texts]


def test_a_question_that_says_enough_is_looked_for_alone() -> None:
    assert queries(said("Tell me about tyres.", "How often is brake fluid changed?")) == [
        "How often is brake fluid changed?"
    ]


def test_of_a_question_of_any_length_only_the_beginning_is_worked_on() -> None:
    (query,) = queries(said("brake fluid tyres " * 100_000))
    assert query.startswith("brake fluid")
    assert len(query) <= 8000
    assert all(len(each) <= 16_001 for each in queries(said("brake fluid tyres " * 100_000, "why?")))
