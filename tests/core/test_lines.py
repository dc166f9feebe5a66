from __future__ import annotations

import pytest

from secureai_appliance.core.lines import is_line


@pytest.mark.parametrize(
    "text",
    [
        "Brake pads",
        "山田\u3000太郎",
        "می\u200cخواهم",
        "👩\u200d👩\u200d👧",
        "Freins\u00a0: conseils",
        "\U0001fae8",
        "क्\u200dष",
        "❤\ufe0f",
    ],
)
def test_names_of_every_script_are_lines(text: str) -> None:
    assert is_line(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\u3000", "\u200d", " \u200c ", "a\nb", "a\u2028b", "a\x00", "a\u202eb", "a\u2066b", "\ufeffa", "\ud800"],
)
def test_what_is_not_seen_or_turns_text_around_is_none(text: str) -> None:
    assert not is_line(text)
