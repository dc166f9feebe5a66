"""Data that is written in letters: base64, hexadecimal dumps, minified code. Nobody asks for it by its meaning."""

from __future__ import annotations

import re

_LONG_WORDS = 40  # letters, on average: three times as many as those of the longest languages
_HEXADECIMAL = re.compile(r"[0-9a-f]{2,16}[:,;]?", re.IGNORECASE)
_LETTER = re.compile(r"[a-f]", re.IGNORECASE)
_MOST, _SOME = 0.6, 0.2


def is_data(text: str) -> bool:
    """Whether a passage is data and no language. Only ASCII can be: many scripts divide no words."""
    words = text.split()
    if not words or not text.isascii():
        return False
    return sum(map(len, words)) > _LONG_WORDS * len(words) or _is_dump(words)


def _is_dump(words: list[str]) -> bool:
    """Numbers of tables have digits alone."""
    numbers = [word for word in words if _HEXADECIMAL.fullmatch(word)]
    with_letters = sum(1 for number in numbers if _LETTER.search(number))
    return sum(map(len, numbers)) > _MOST * sum(map(len, words)) and with_letters > _SOME * len(numbers)
