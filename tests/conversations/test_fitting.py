"""Which passages a model is given, and how much of each."""

from __future__ import annotations

import random
import re

import pytest

from secureai_appliance.conversations.fitting import Fitted, fit_best, fit_parts
from secureai_appliance.conversations.room import Room, estimated
from secureai_appliance.knowledge.passages import Ranks, Result

ROOM = Room(8000, estimated)


def passage(text: str, start: int = 0, heading: str = "", document: str = "doc-1") -> Result:
    return Result(
        chunk_id=f"{document}-{start}",
        document_id=document,
        knowledge_base_id="kb-1",
        filename="notes.txt",
        page=None,
        heading=heading,
        start=start,
        end=start + len(text),
        text=text,
        score=0.0,
        similarity=None,
        relevance=None,
        ranks=Ranks(vector=None, keyword=None),
    )


def document(sections: int, passages: int, seed: int = 1) -> tuple[str, list[Result]]:
    """A text, and passages of it that overlap a little."""
    chosen = random.Random(seed)
    sentences = [
        " ".join(chosen.choices(("brake", "fluid", "of", "winter", "tyres"), k=12)) + f" {number}. "
        for number in range(sections * passages * 6)
    ]
    text = "".join(sentences)
    places = [sum(map(len, sentences[:number])) for number in range(len(sentences) + 1)]
    found = []
    for number in range(sections * passages):
        start, end = places[max(0, number * 6 - 1)], places[number * 6 + 6] - 1
        found.append(passage(text[start:end], start, f"Section {number // passages}"))
    return text, found


def whole(fitted: Fitted, text: str) -> None:
    """What holds of all that is given."""
    for source, told in zip(fitted.sources, fitted.blocks, strict=True):
        assert text[source.start : source.end] == source.text
        assert told.startswith(f"[{fitted.sources.index(source) + 1}] notes.txt")


def test_what_there_is_room_for_is_given_whole() -> None:
    text, passages = document(3, 2)
    fitted = fit_parts(passages, ROOM, 10_000)
    assert fitted.sources == passages
    assert not fitted.shortened
    # what two passages share is told once
    assert sum(len(re.findall(r" 5\.", told)) for told in fitted.blocks) == 1
    whole(fitted, text)


@pytest.mark.parametrize("left", [30, 100, 300, 1000, 2000, 5000])
@pytest.mark.parametrize(("sections", "passages"), [(1, 60), (12, 5), (60, 1), (3, 2)])
def test_parts_keep_to_their_room_and_come_from_all_sections(sections: int, passages: int, left: int) -> None:
    text, found = document(sections, passages)
    fitted = fit_parts(found, ROOM, left)
    whole(fitted, text)
    assert fitted.sources[0].start == 0
    assert sum(fitted.tokens) <= max(left, 60)
    if left >= 300:
        assert sum(fitted.tokens) >= 0.5 * min(left, sum(estimated(each.text) for each in found))
        assert fitted.sources[-1].start > 0.6 * found[-1].start
    if left >= 2000:
        assert len({each.heading for each in fitted.sources}) >= min(sections, 12)


def test_a_part_ends_with_a_sentence() -> None:
    _, found = document(1, 20)
    fitted = fit_parts(found, ROOM, 1000)
    assert fitted.shortened
    assert sum(each.text.endswith(".") for each in fitted.sources) >= 0.8 * len(fitted.sources)


def test_of_the_best_passage_there_is_always_a_beginning() -> None:
    _, found = document(1, 3)
    fitted = fit_best(found, ROOM, 40)
    assert len(fitted.sources) == 1
    assert 0 < len(fitted.sources[0].text) < len(found[0].text)
    assert found[0].text.startswith(fitted.sources[0].text)
