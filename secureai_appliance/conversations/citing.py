"""References like [2] in an answer: those to sources that the model was not given are taken out while it comes."""

from __future__ import annotations

import re
from collections.abc import Sized
from itertools import chain

_MOST_HELD = 180
_WORD = r"(?:sources?|documents?|docs?|passages?|citations?|ref(?:erence)?s?|quellen?|fuentes?|来源|來源|文档|出典)"
_NUMBER = rf"(?:{_WORD}\s*:?\s*)?#?\d{{1,4}}(?:\s*[-–]\s*#?\d{{1,4}})?"
_AND = r"\s*(?:[,;&](?:\s*(?:and|und)\b)?|\b(?:and|und|et|y)\b)\s*"
# what some models put behind a number, as in 【3†L1】, [3, p. 12] and [3: manual.pdf]
_BEHIND = r"\s*(?:†.*|[,:;]\s*(?:pp?\b|pages?\b|seiten?\b|s\.|lines?\b|§).*|:\s*[^\W\d].*)"
_REFERENCE = re.compile(
    rf"\s*\^?(?P<numbers>{_NUMBER}(?:{_AND}{_NUMBER})*)(?:{_BEHIND})?\s*", re.IGNORECASE | re.DOTALL
)
# bounded, so that it is known after so many letters that it is none, wherever the text is cut
_INSIDE = r"\s{0,8}[\^#\w][^\[\]【】［］`]{0,150}"
# a mark of code or what may be a reference, with the blanks before it
_PART = re.compile(rf"(?P<code>`+)|(?P<newline>\n)|(?P<blanks>[ \t]{{0,8}})[\[【［](?P<inside>{_INSIDE})[\]】］]")
# what may still become one of them: blanks, an open bracket with what a reference may begin with, marks of code
_UNFINISHED = re.compile(rf"(?:`+|[ \t]{{1,8}}|[ \t]{{0,8}}[\[【［](?:\s{{0,8}}|{_INSIDE}))\Z")


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
        return found[0] if found["newline"] or in_code else self._referred(found)

    def _referred(self, found: re.Match[str]) -> str:
        reference = _REFERENCE.fullmatch(found["inside"])
        if reference is None:
            return found[0]
        named = list(chain.from_iterable(map(_range, re.findall(r"\d+(?:\s*[-–]\s*#?\d+)?", reference["numbers"]))))
        known = [number for number in named if 1 <= number <= len(self._sources)]
        self.cited.update(known)
        if len(known) == len(named):
            return found[0]
        return f"{found['blanks']}[{', '.join(map(str, known))}]" if known else ""


def _range(text: str) -> list[int]:
    ends = [int(number) for number in re.findall(r"\d+", text)]
    if len(ends) == 2 and 0 <= ends[1] - ends[0] < 100:
        return list(range(ends[0], ends[1] + 1))
    return ends
