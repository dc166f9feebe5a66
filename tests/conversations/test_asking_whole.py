from __future__ import annotations

import pytest

from secureai_appliance.conversations.asking_whole import asks_about_whole, has_topic


@pytest.mark.parametrize(
    "question",
    [
        "Summarise this document",
        "Summarize it.",
        "Please summarise this document for me",
        "Can you summarise the attached file?",
        "Give me a summary of the whole report in 3 bullet points.",
        "Summarise the PDF I just uploaded in plain English",
        "Summarise everything",
        "What are the key points?",
        "What is this document about?",
        "tl;dr",
        "Fasse dieses Dokument zusammen",
        "Worum geht es in diesem Dokument?",
        "Résume ce document",
        "Resume este documento",
        "Riassumi questo documento",
        "总结这份文件",
        "この文書を要約してください",
    ],
)
def test_a_whole_is_asked_about_without_a_topic(question: str) -> None:
    assert asks_about_whole(question)
    assert not has_topic(question)


@pytest.mark.parametrize(
    "question",
    [
        "Summarise the warranty.",
        "Summarise the plot of Hamlet.",
        "Give me an overview of the brake system",
        "Fasse die Garantiebedingungen zusammen",
        "总结保修条款",
    ],
)
def test_a_whole_is_asked_about_that_is_named_by_its_topic(question: str) -> None:
    assert asks_about_whole(question)
    assert has_topic(question)


@pytest.mark.parametrize("question", ["How often is brake fluid changed?", "Who wrote this report?"])
def test_other_questions_are_answered_from_passages(question: str) -> None:
    assert not asks_about_whole(question)
