"""Names and titles: one line of text in any script, without what can't be seen or turns the rest around."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # Persian and Indic words, and families of emoji, need them
_EMOJI = range(0x1F000, 0x1FB00)  # newer ones than this Python knows stand there too


def is_line(text: str) -> bool:
    """Whether every character may stand in a name or a title, and at least one of them is seen."""
    return all(may_stand(letter) for letter in text) and any(letter not in _JOINERS for letter in text.strip())


def may_stand(letter: str) -> bool:
    """Whether this character may stand in a line: no control, line break, direction mark or half of a pair."""
    # blanks of other widths separate names in Japanese and Chinese, and marks from words in French
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs" or ord(letter) in _EMOJI
