"""Regular expressions of JSON schemas: into grammar text, and matched in bounded time.

Python's own matcher can be made to run for hours by a pattern, holding the interpreter's lock meanwhile; and these
patterns come from callers. So a pattern is read once into a small tree, from which both the grammar that enforces it
and the check of the finished text are made. Meaning is ECMA's as far as it and Python's agree.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

_parser: Any = importlib.import_module("re._parser")  # the standard library's reader of patterns

MAX_LENGTH = 512
MAX_REPEATS = 256
_MAX_DEPTH = 24
_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)

Range = tuple[int, int]
CharRule = Callable[["Chars"], str]

_CATEGORIES: dict[str, tuple[Range, ...]] = {
    "CATEGORY_DIGIT": ((0x30, 0x39),),
    "CATEGORY_WORD": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "CATEGORY_SPACE": ((0x20, 0x20),),
}
_ASCII: Range = (0x20, 0x7E)


@dataclass(frozen=True)
class Chars:
    """One character out of ranges of code points, ascending and apart."""

    ranges: tuple[Range, ...]

    def has(self, character: str) -> bool:
        point = ord(character)
        return any(low <= point <= high for low, high in self.ranges)


@dataclass(frozen=True)
class Series:
    """One after another; an empty one matches nothing but the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Either:
    """Any one of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """Again and again; `most` None: without end."""

    part: Node
    least: int
    most: int | None


Node = Chars | Series | Either | Repeat

_ANYTHING = Repeat(Chars(((0, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, _LAST))), 0, None)


def read(pattern: str) -> Node:
    """What the whole text must look like for `pattern` to be found in it.

    Raises ValueError for what can't be enforced: look-around, back references, word boundaries, flags.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"it has more than {MAX_LENGTH} characters")
    try:
        parsed = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as cause:
        raise ValueError("it is not a regular expression") from cause
    if parsed.state.flags & ~re.UNICODE:
        raise ValueError("flags are not supported")
    node = _series(list(parsed), first=True, last=True, depth=0)
    if _most_repeats(node) > MAX_REPEATS:
        raise ValueError(f"it repeats something more than {MAX_REPEATS} times")
    return node


def matches(node: Node, text: str) -> bool:
    """Whether all of `text` is what `node` describes. Never exponential: sets of positions, not single attempts."""
    return len(text) in _ends(node, text, {0})


def _ends(node: Node, text: str, starts: set[int]) -> set[int]:
    match node:
        case Chars():
            return {start + 1 for start in starts if start < len(text) and node.has(text[start])}
        case Series(parts=parts):
            for part in parts:
                starts = _ends(part, text, starts)
            return starts
        case Either(options=options):
            return set().union(*(_ends(option, text, starts) for option in options))
        case Repeat(part=part, least=least, most=most):
            for _ in range(least):
                starts = _ends(part, text, starts)
            return _more(part, text, starts, None if most is None else most - least)


def _more(part: Node, text: str, starts: set[int], rounds: int | None) -> set[int]:
    found, fresh = set(starts), starts
    while fresh and (rounds is None or rounds > 0):
        fresh = _ends(part, text, fresh) - found
        found |= fresh
        rounds = None if rounds is None else rounds - 1
    return found


def grammar(node: Node, chars: CharRule) -> str:
    """The grammar text of `node`; `chars` writes one character's part.

    No part can be empty in more than one way: llama.cpp follows each of them, and nested ones multiply without bound.
    """
    if _may_be_empty(node):
        rest = _not_empty(node)
        return '""' if rest is None else f"({_solid(rest, chars)})?"
    return _solid(node, chars)


def _solid(node: Node, chars: CharRule) -> str:
    """Of a node that is never empty, or whose repeated part isn't."""
    match node:
        case Chars():
            return chars(node)
        case Series(parts=parts):
            return f"({' '.join(grammar(part, chars) for part in parts)})"
        case Either(options=options):
            return f"({' | '.join(grammar(option, chars) for option in options)})"
        case Repeat(part=part, least=least, most=most):
            inner = _not_empty(part) if _may_be_empty(part) else part
            if inner is None:
                return '""'
            low = max(1, least) if inner is part else 1
            return f"({_solid(inner, chars)}){{{low},{'' if most is None else most}}}"


def _may_be_empty(node: Node) -> bool:
    match node:
        case Chars():
            return False
        case Series(parts=parts):
            return all(_may_be_empty(part) for part in parts)
        case Either(options=options):
            return any(_may_be_empty(option) for option in options)
        case Repeat(part=part, least=least):
            return least == 0 or _may_be_empty(part)


def _not_empty(node: Node) -> Node | None:
    """What `node` describes but for the empty text; None when nothing is left."""
    match node:
        case Series(parts=parts) if _may_be_empty(node):
            # the first part that is not empty, and whatever follows it
            begun = [(first, parts[at + 1 :]) for at, part in enumerate(parts) if (first := _not_empty(part))]
            return _either([Series((first, *rest)) for first, rest in begun])
        case Either(options=options):
            return _either([rest for option in options if (rest := _not_empty(option))])
        case Repeat(part=part, least=least, most=most):
            inner = _not_empty(part)
            if inner is None or most == 0:
                return None
            return Repeat(inner, max(1, 0 if _may_be_empty(part) else least), most)
    return node


def _either(options: list[Node]) -> Node | None:
    if len(options) < 2:
        return options[0] if options else None
    return Either(tuple(options))


def _most_repeats(node: Node) -> int:
    """How often the innermost part may come at most, counting bounded repeats alone."""
    match node:
        case Chars():
            return 1
        case Series(parts=parts) | Either(options=parts):
            return max((_most_repeats(part) for part in parts), default=1)
        case Repeat(part=part, least=least, most=most):
            return max(1, least if most is None else most) * _most_repeats(part)


# --- from the standard library's tree


def _series(items: list[tuple[Any, Any]], *, first: bool, last: bool, depth: int) -> Node:
    """`first`, `last`: nothing stands before or after, so that an anchor may, and without one anything may."""
    if depth > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    parts: list[Node] = []
    if first and not (items and (_is_anchor(items[0], "AT_BEGINNING") or _is_group(items[0]))):
        parts.append(_ANYTHING)
    for index, (operation, argument) in enumerate(items):
        at_start, at_end = first and index == 0, last and index == len(items) - 1
        anchor = "AT_BEGINNING" if at_start else ""
        if str(operation) == "AT":
            if str(argument) not in {anchor, "AT_END" if at_end else ""}:
                raise ValueError("anchors are supported only at its beginning and its end")
            continue
        parts.append(_item(str(operation), argument, at_start, at_end, depth))
    if last and not (items and (_is_anchor(items[-1], "AT_END") or _is_group(items[-1]))):
        parts.append(_ANYTHING)
    return parts[0] if len(parts) == 1 else Series(tuple(parts))


def _is_anchor(item: tuple[Any, Any], name: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]) == name


def _is_group(item: tuple[Any, Any]) -> bool:
    return str(item[0]) in {"BRANCH", "SUBPATTERN"}


def _item(operation: str, argument: Any, first: bool, last: bool, depth: int) -> Node:
    match operation:
        case "LITERAL":
            return _chars([(argument, argument)])
        case "NOT_LITERAL":
            return _chars(_others([(argument, argument)]))
        case "ANY":
            return _chars(_others([(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]))
        case "IN":
            return _set(argument)
        case "BRANCH":
            return Either(tuple(_series(list(o), first=first, last=last, depth=depth + 1) for o in argument[1]))
        case "SUBPATTERN":
            if argument[1] or argument[2]:
                raise ValueError("flags are not supported")
            return _series(list(argument[3]), first=first, last=last, depth=depth + 1)
        case "MAX_REPEAT" | "MIN_REPEAT":
            return _repeat(argument, depth)
    raise ValueError("look-around, back references and the like are not supported")


def _repeat(argument: Any, depth: int) -> Node:
    least, most, items = argument
    bound = None if most == _parser.MAXREPEAT else int(most)
    if least > MAX_REPEATS or (bound or 0) > MAX_REPEATS:
        raise ValueError(f"it repeats something more than {MAX_REPEATS} times")
    return Repeat(_series(list(items), first=False, last=False, depth=depth + 1), int(least), bound)


def _set(items: Iterable[tuple[Any, Any]]) -> Chars:
    ranges: list[Range] = []
    categories: set[str] = set()
    negated = False
    for operation, argument in items:
        match str(operation):
            case "NEGATE":
                negated = True
            case "LITERAL":
                ranges.append((argument, argument))
            case "RANGE":
                ranges.append(argument)
            case "CATEGORY":
                categories.add(str(argument))
                ranges += _category(str(argument))
            case _:
                raise ValueError("it has a set that is not supported")
    if any(name.replace("CATEGORY_", "CATEGORY_NOT_") in categories for name in categories):
        ranges = [(0, _LAST)]  # such as [\s\S]: anything
    if not negated:
        return _chars(ranges)
    return _chars(_cut(_others(ranges), _ASCII) if categories else _others(ranges))


def _category(name: str) -> list[Range]:
    """The class within ASCII's printable characters: there all readers agree on what is in it and what is not."""
    positive = name.replace("CATEGORY_NOT_", "CATEGORY_")
    if positive not in _CATEGORIES:
        raise ValueError("it has a class of characters that is not supported")
    inside = list(_CATEGORIES[positive])
    return inside if positive == name else _cut(_others(inside), _ASCII)


def _cut(ranges: Iterable[Range], bounds: Range) -> list[Range]:
    return [(max(a, bounds[0]), min(b, bounds[1])) for a, b in ranges if a <= bounds[1] and b >= bounds[0]]


def _others(ranges: Iterable[Range]) -> list[Range]:
    found: list[Range] = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, _LAST)] if start <= _LAST else found


def _chars(ranges: Iterable[Range]) -> Chars:
    """Merged, and without surrogates, which UTF-8 can't hold."""
    merged: list[Range] = []
    for low, high in sorted(_without_surrogates(ranges)):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    if not merged:
        raise ValueError("it has a set that no character is in")
    return Chars(tuple(merged))


def _without_surrogates(ranges: Iterable[Range]) -> Iterable[Range]:
    for low, high in ranges:
        yield from _cut([(low, high)], (0, _SURROGATES[0] - 1))
        yield from _cut([(low, high)], (_SURROGATES[1] + 1, _LAST))
