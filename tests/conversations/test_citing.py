from __future__ import annotations

import random

import pytest

from secureai_appliance.conversations.citing import Citing


def through(text: str, sources: int, pieces: list[str] | None = None) -> tuple[str, set[int]]:
    citing = Citing(range(sources))
    sent = "".join(citing.feed(piece) for piece in (pieces or [text]))
    return sent + citing.finish(), citing.cited


@pytest.mark.parametrize(
    ("said", "sent", "cited"),
    [
        ("Two years [1].", "Two years [1].", {1}),
        ("Two years [9].", "Two years.", set()),
        ("[9] Two years [2][9], or [1, 9] so [3; 2].", " Two years [2], or [1] so [3; 2].", {1, 2, 3}),
        ("As [Source 2] says, not [source: 7] though.", "As [Source 2] says, not though.", {2}),
        ("All of them [1-3], and [2-9].", "All of them [1-3], and [2, 3].", {1, 2, 3}),
        ("None [0] and [99] and 【4】.", "None and and.", set()),
        ("A list [a, b] and [brackets] and [", "A list [a, b] and [brackets] and [", set()),
        ("Use `a[9]` and\n```\nx = a[9]\n```\nbut not [9].", "Use `a[9]` and\n```\nx = a[9]\n```\nbut not.", set()),
        ("An open ` and\nthe next line [9].", "An open ` and\nthe next line.", set()),
        ("多年一次[2]。没有[9]。", "多年一次[2]。没有。", {2}),
        ("Two [Source 1, Source 9], three [Doc 9] and [1 and 7].", "Two [1], three and [1].", {1}),
        ("Two【9†source】 or【2†L1-L3】, three[^9].", "Two or【2†L1-L3】, three.", {2}),
        ("See [9, p. 3], [2, page 4] and [source 8: a.pdf].", "See, [2, page 4] and.", {2}),
        ("All: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16].", "All: [1, 2, 3].", {1, 2, 3}),
        ("Take [3 pages], [1.5] and [see 9].", "Take [3 pages], [1.5] and [see 9].", set()),
        ("All of it ([9]), or ([1]), or ([1], [9]).", "All of it, or ([1]), or ([1]).", {1}),
        ("So [[9]], [[1]], [[1, 9]], [[2][9]] and [[8], [9]] .", "So, [[1]], [[1]], [[2]] and .", {1, 2}),
        ("So [[9] and ([9] both", "So [ and ( both", set()),
        ("See [source 2019] and [9-12] and 【100†L1】.", "See and and.", set()),
    ],
)  # fmt: skip
def test_references_to_sources_that_are_not_there_are_taken_out(said: str, sent: str, cited: set[int]) -> None:
    assert through(said, 3) == (sent, cited)


STAYS = (
    *(
        "Sold in [2019].",
        "Of 2018 [2018-2020] and [1999, 2003].",
        "[12/2019]",
        "Up to [100] km/h, error [404].",
        "[1000]",
    ),
    *(
        "It [sic] says so [...] and […] [ed.].",
        "From [0, 1] and [0-5, 9].",
        "Aged [18-65].",
        "[-1] and [+3] and [3.5, 7]",
    ),
    *("[x] done, [ ] open, [a], [i], [IV]", "[Smith, 2019] and [Smith et al. 2020, p. 4]", "[9 km] and [~9] and [9%]"),
    *("[2019, p. 4]", "[[2019]] and ([2019])", "[[1, 2], [8, 9]]", "[[wiki]] and ([note])", "[12:30] and [3x]"),
    *("`a[9]`", "```\n([9]) [[9]]\n```", "[]", "[[]]", "([])"),
)


@pytest.mark.parametrize("said", STAYS)
def test_what_else_stands_in_brackets_stays(said: str) -> None:
    sent, cited = through(said, 3)
    assert sent == said
    assert not cited - {1, 2}
    for cut in range(len(said)):
        assert through(said, 3, [said[:cut], said[cut:]]) == (sent, cited)


def test_with_many_sources_their_numbers_are_longer() -> None:
    assert through("It [150] is [151], of [2019].", 150) == ("It [150] is, of [2019].", {150})


def test_it_is_the_same_wherever_the_text_is_cut() -> None:
    chosen = random.Random(7)
    alphabet = ["[", "]", "1", "9", "12", ",", " ", "-", "`", "```", "\n", "word", "source ", "【", "】", ". ", "  "]
    alphabet += ["†", "^", "; page ", "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, ", " " * 60]
    alphabet += ["(", ")", "[[", "]]", "([", "])", "], [", "2019", "100", "0"]
    for _ in range(8000):
        text = "".join(chosen.choices(alphabet, k=14))
        cuts = sorted(chosen.sample(range(len(text) + 1), k=min(4, len(text))))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert through(text, 3, pieces) == through(text, 3), (text, pieces)


def test_text_without_brackets_is_not_held_back() -> None:
    citing = Citing(range(3))
    assert citing.feed("Brake fluid is changed") == "Brake fluid is changed"
    assert citing.feed(" every two [y") == " every two"
    assert citing.feed("ears] or so") == " [years] or so"
