"""Patterns of JSON schemas."""

from __future__ import annotations

import re
import time

import pytest

from secureai_appliance.inference import patterns


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        ("^abc$", ["abc"], ["ab", "abcd", "xabc"]),
        ("b", ["b", "abc"], ["", "ac"]),
        ("^b", ["b", "bc"], ["ab"]),
        ("b$", ["b", "ab"], ["bc"]),
        ("^(a|bc)+$", ["a", "bca"], ["", "b"]),
        ("^a|b$", ["ax", "xb"], ["xa", "bx"]),
        ("^a$|^b$", ["a", "b"], ["ab"]),
        (r"^\d{2,3}$", ["12", "123"], ["1", "1234"]),
        (r"^[^\s,]+$", ["abc", "a-b"], ["a b", "a,b", ""]),
        (r"^[\s\S]*$", ["", "a\nä"], []),
        (r"^\S+\.\w*$", ["a.b", "x."], [".b", "a b."]),
        ("^a*?b?$", ["", "aab"], ["ba"]),
        ("", ["", "anything"], []),
    ],
)
def test_a_pattern_matches_what_pythons_does(pattern: str, right: list[str], wrong: list[str]) -> None:
    node = patterns.read(pattern)
    for text in right:
        assert patterns.matches(node, text)
        assert re.search(pattern, text)
    for text in wrong:
        assert not patterns.matches(node, text)
        assert not re.search(pattern, text)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)b",
        "(?!a)b",
        "(?<=a)b",
        r"(a)\1",
        r"\bx",
        "(?i)x",
        "a^b",
        "a$b",
        "a{1000}",
        "(a{20}){20}",
        "(",
        "[^\\s\\S]",
        "a" * 600,
    ],
)
def test_what_cannot_be_enforced_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        patterns.read(pattern)


def test_a_pattern_made_to_take_for_ever_does_not() -> None:
    started = time.monotonic()
    assert not patterns.matches(patterns.read("^(a+)+$"), "a" * 500 + "b")
    assert not patterns.matches(patterns.read("^(a|a)*$"), "a" * 500 + "b")
    assert time.monotonic() - started < 5  # Python's own would need longer than the universe
