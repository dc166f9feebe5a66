"""References like [2] in an answer: those to sources that the model was not given are taken out while it comes.

Other things stand in brackets, too: years, intervals, codes. A number is taken for a source's when it is no longer than
a source's number can be (two digits, more only where there are so many sources), or when a word says that it is one.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from itertools import chain

_MOST_HELD = 400
_LONG = 10
"""Sources in a row that no answer refers to at once, unless some of them are there."""
_WORD = r"(?:sources?|documents?|docs?|passages?|citations?|ref(?:erence)?s?|quellen?|fuentes?|来源|來源|文档|出典)"
_NUMBER = rf"(?:{_WORD}\s*:?\s*)?#?\d{{1,4}}(?:\s*[-–]\s*#?\d{{1,4}})?"
_AND = r"\s*(?:[,;&](?:\s*(?:and|und)\b)?|\b(?:and|und|et|y)\b)\s*"
# what some models put behind a number, as in 【3†L1】, [3, p. 12] and [3: manual.pdf]
_BEHIND = r"\s*(?:†.*|[,:;]\s*(?:pp?\b|pages?\b|seiten?\b|s\.|lines?\b|§).*|:\s*[^\W\d].*)"
_REFERENCE = re.compile(
    rf"\s*\^?(?P<numbers>{_NUMBER}(?:{_AND}{_NUMBER})*)(?:{_BEHIND})?\s*", re.IGNORECASE | re.DOTALL
)
_RANGE = re.compile(r"\d+(?:\s*[-–]\s*#?\d+)?")
_SAYS_SO = re.compile(rf"\b{_WORD}|†", re.IGNORECASE)
# bounded, so that it is known after so many letters that it is none, wherever the text is cut
_BEGINS, _LETTER, _OPENS, _CLOSES = r"\s{0,8}[\^#\w]", r"[^\[\]【】［］`]", r"[\[【［]", r"[\]】］]"
_INSIDE = rf"{_BEGINS}{_LETTER}{{0,150}}"
# brackets in brackets, as in [[2], [3]] and ([2])
_FEW = rf"{_BEGINS}{_LETTER}{{0,30}}"
_OUTER, _BETWEEN = r"[\[【［(（]\s{0,2}", r"[\s,;]{0,3}"
_SEVERAL = rf"(?:{_OPENS}{_FEW}{_CLOSES}{_BETWEEN}){{1,5}}"
# a mark of code or what may be a reference, with the blanks before it
_PART = re.compile(
    rf"(?P<code>`+)|(?P<newline>\n)|(?P<blanks>[ \t]{{0,8}})"
    rf"(?:(?P<outer>{_OUTER})(?P<several>{_SEVERAL})[\]】］)）]|{_OPENS}(?P<inside>{_INSIDE}){_CLOSES})"
)
_INNER = re.compile(rf"{_OPENS}({_FEW}){_CLOSES}")
# what may still become one of them: blanks, an open bracket with what a reference may begin with, marks of code
_UNFINISHED = re.compile(
    rf"(?:`+|[ \t]{{1,8}}|[ \t]{{0,8}}(?:{_OPENS}(?:\s{{0,8}}|{_INSIDE})"
    rf"|{_OUTER}(?:{_OPENS}{_FEW}{_CLOSES}{_BETWEEN}){{0,5}}(?:{_OPENS}(?:\s{{0,8}}|{_FEW}))?))\Z"
)


class Citing:
    """The text of one answer on its way to the client. `cited`: the sources that it has referred to so far."""

    def __init__(self, sources: Sized) -> None:
        """`sources`: those from number 1 on; there may be more of them later."""
        self.cited: set[int] = set()
        self._sources = sources
        self._held = ""
        self._fenced = False
        self._inline = False

    def feed(self, text: str) -> str:
        """What can be sent now: what may be the beginning of a reference waits for its end."""
        text = self._held + text
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _MOST_HELD))
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return self._checked(text[:cut])

    def finish(self) -> str:
        """What was held back."""
        text, self._held = self._held, ""
        return self._checked(text)

    def _checked(self, text: str) -> str:
        return _PART.sub(self._part, text)

    def _part(self, found: re.Match[str]) -> str:
        if found["code"]:
            if len(found["code"]) >= 3:
                self._fenced = not self._fenced
            elif not self._fenced:
                self._inline = not self._inline
            return found[0]
        in_code = self._fenced or self._inline
        if "\n" in found[0]:
            self._inline = False
        # in code it is an index, not a reference
        if found["newline"] or in_code:
            return found[0]
        if found["outer"]:
            return self._several(found)
        known = self._referred(found["inside"])
        if known is None:
            return found[0]
        return f"{found['blanks']}[{_listed(known)}]" if known else ""

    def _several(self, found: re.Match[str]) -> str:
        """Brackets in brackets: as they are when all in them is known, without the unknown, or nothing."""
        inner = _INNER.findall(found["several"])
        if _are_rows(inner):
            return found[0]
        known = self._referred(", ".join(inner))
        if known is None:
            begun = found.end("outer")
            return found.string[found.start() : begun] + self._checked(found.string[begun : found.end()])
        return f"{found['blanks']}{found['outer']}[{_listed(known)}]{found[0][-1]}" if known else ""

    def _referred(self, inside: str) -> list[int] | None:
        """Which of the sources that a bracket refers to are there; None where it is to stay as it is."""
        reference = _REFERENCE.fullmatch(inside)
        if reference is None:
            return None
        ranges = list(chain.from_iterable(map(_ranges, _RANGE.findall(reference["numbers"]))))
        if not _SAYS_SO.search(inside) and not self._may_be_meant(ranges):
            return None
        named = list(chain.from_iterable(range(first, last + 1) for first, last in ranges))
        known = [number for number in named if 1 <= number <= len(self._sources)]
        self.cited.update(known)
        return None if len(known) == len(named) else known

    def _may_be_meant(self, ranges: list[tuple[int, int]]) -> bool:
        most = len(self._sources)
        longest = max(2, len(str(most)))
        if any(len(str(last)) > longest for _, last in ranges):
            return False
        # [0, 1] and [18-65] are intervals
        from_nothing = len(ranges) > 1 and any(first == 0 for first, _ in ranges)
        return not from_nothing and not any(first > most and last - first >= _LONG for first, last in ranges)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _are_rows(inner: list[str]) -> bool:
    """Whether it is a table of numbers, as [[1, 2], [3, 4]]."""
    return len(inner) > 1 and all("," in each for each in inner)


def _ranges(text: str) -> list[tuple[int, int]]:
    """What stands for one number or for several: first and last."""
    first, *last = [int(number) for number in re.findall(r"\d+", text)]
    if last and 0 <= last[0] - first < 100:
        return [(first, last[0])]
    return [(number, number) for number in (first, *last)]
