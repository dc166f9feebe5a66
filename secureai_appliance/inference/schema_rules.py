"""Grammar text of JSON's own parts: literals, numbers in bounds, strings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from secureai_appliance.inference.patterns import Chars, Range

LARGEST = 10**18

RULES = {
    # bounded: a small model may otherwise go on with blanks for ever
    "ws": r'"" | " " | "\n" [ \t]{0,24}',
    "hex": "[0-9a-fA-F]",
    # no halves of surrogate pairs: they are no text
    "escape": r'"\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex))',
    "char": r'[^"\\\x00-\x1f\x7f] | escape',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,14})',
    "number": 'integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "member": 'string ":" ws value',
    "object": '"{" ws (member ("," ws member)* ws)? "}"',
    "array": '"[" ws (value ("," ws value)* ws)? "]"',
    "value": "object | array | string | number | boolean | null",
}
_USES = {
    "escape": ("hex",),
    "char": ("escape",),
    "string": ("char",),
    "number": ("integer",),
    "member": ("string", "ws", "value"),
    "object": ("ws", "member"),
    "array": ("ws", "value"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}


def with_uses(name: str) -> set[str]:
    """A rule and all that it needs."""
    found: set[str] = set()
    fresh = [name]
    while fresh:
        rule = fresh.pop()
        if rule not in found:
            found.add(rule)
            fresh += _USES.get(rule, ())
    return found


def literal(text: str) -> str:
    """Grammar text that stands for exactly `text`."""
    return '"' + "".join(_escape(ord(character)) for character in text) + '"'


def json_literal(value: Any) -> str:
    """Grammar text of a JSON value. Raises ValueError when it has no JSON (infinite numbers, half characters)."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    return literal(text)


def string_char(chars: Chars) -> str:
    """Grammar text of one of `chars` inside a JSON string, escaped where JSON wants it."""
    plain, escaped = [], []
    for low, high in chars.ranges:
        for part in _plain(low, high):
            plain.append(part)
        escaped += [point for point in (*range(0x20), 0x22, 0x5C, 0x7F) if low <= point <= high]
    options = ["[" + "".join(_span(part) for part in plain) + "]"] if plain else []
    options += [literal(json.dumps(chr(point))[1:-1]) for point in escaped if point != 0x7F]
    options += [literal("\\u007f")] if 0x7F in escaped else []
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"


def _plain(low: int, high: int) -> Iterator[Range]:
    for begin, end in ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0x10FFFF)):
        if low <= end and high >= begin:
            yield max(low, begin), min(high, end)


def _span(part: Range) -> str:
    low, high = part
    return _escape(low) if low == high else f"{_escape(low)}-{_escape(high)}"


def _escape(point: int) -> str:
    character = chr(point)
    if character.isascii() and (character.isalnum() or character in " _:,{}.;"):
        return character
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def integers(low: int | None, high: int | None) -> str:
    """Grammar text of the whole numbers from `low` to `high`; None: no bound. Raises ValueError when there are none."""
    least = -(10 ** max(15, len(str(abs(high or 0))) + 1) - 1) if low is None else low
    most = 10 ** max(15, len(str(abs(low or 0))) + 1) - 1 if high is None else high
    if least > most:
        raise ValueError("no number is that large and that small")
    options = []
    if least < 0:
        options += [f'"-" {option}' for option in _naturals(max(1, -most), -least)]
    if most >= 0:
        options += list(_naturals(max(0, least), most))
    return " | ".join(options)


def _naturals(low: int, high: int) -> Iterator[str]:
    for digits in range(len(str(low)), len(str(high)) + 1):
        smallest = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        largest = min(high, 10**digits - 1)
        yield from (" ".join(parts) for parts in _same_length(str(smallest), str(largest)))


def _same_length(low: str, high: str) -> Iterator[list[str]]:
    if not low:
        yield []
    elif set(low) == {"0"} and set(high) == {"9"}:
        yield [f"[0-9]{{{len(low)}}}"]
    elif low[0] == high[0]:
        yield from ([f'"{low[0]}"', *rest] for rest in _same_length(low[1:], high[1:]))
    else:
        yield from _split(low, high)


def _split(low: str, high: str) -> Iterator[list[str]]:
    """By the first digit: the lowest, those between, the highest."""
    rest = len(low) - 1
    first, last = int(low[0]), int(high[0])
    if set(low[1:]) - {"0"}:
        yield from ([f'"{first}"', *more] for more in _same_length(low[1:], "9" * rest))
        first += 1
    partial = bool(set(high[1:]) - {"9"})
    whole = last - 1 if partial else last
    if first <= whole:
        yield [f"[{first}-{whole}]", *([f"[0-9]{{{rest}}}"] if rest else [])]
    if partial:
        yield from ([f'"{last}"', *more] for more in _same_length("0" * rest, high[1:]))
