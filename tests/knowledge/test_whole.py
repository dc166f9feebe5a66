from __future__ import annotations

import pytest

from secureai_appliance.knowledge.whole import spread


@pytest.mark.parametrize(
    ("sections", "most", "chosen"),
    [
        ("abc", 5, [0, 1, 2]),
        # without sections, evenly
        ("a" * 9, 3, [0, 3, 6]),
        ("a" * 9, 1, [0]),
        # where a section begins comes first
        ("aaaabbbbcc", 3, [0, 4, 8]),
        ("aaaabbbbcc", 5, [0, 2, 4, 6, 8]),
        ("abbbbbbbbb", 4, [0, 1, 4, 7]),
        # more sections than there is room for
        ("abcdefghi", 3, [0, 4, 8]),
        ("", 3, []),
    ],
)
def test_parts_are_chosen_from_all_over_the_document(sections: str, most: int, chosen: list[int]) -> None:
    assert spread(sections, most) == chosen
