from __future__ import annotations

import pytest

from secureai_appliance.conversations.room import estimated


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # so many as the bundled model has, which takes each digit by itself
        ("The wheel of model M4321 weighs 4321 kilograms and is painted with colour C30247.", 28),
        ('| 4711 | 12.50 | 3/8" | -40 °C |\n' * 10, 270),
        ("Brake fluid is changed every two years.", 9),
        ("ブレーキフルードは二年ごとに交換します。", 34),
        ("Bremsflüssigkeit wird alle zwei Jahre gewechselt", 20),
        ('{\n  "a": [1, 2, 3],\n  "b": null\n}', 21),
        ("x y z " * 50, 151),
        (" " * 300, 6),
    ],
)
def test_a_texts_tokens_are_rather_too_many_than_too_few(text: str, tokens: int) -> None:
    assert tokens <= estimated(text) <= 2 * tokens or not text.strip()
