from __future__ import annotations

import pytest

from secureai_appliance.conversations.toolbox.builtins import DESCRIPTIONS, PARAMETERS, calculate, run
from secureai_appliance.conversations.toolbox.failures import ToolFailure
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("(17.5 + 3) * 12", "246"),
        ("2 + 2", "4"),
        ("0.1 + 0.2", "0.3"),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("2^10", "1024"),
        ("7 // 2 + 7 % 2", "4"),
        ("-3 × 4 ÷ 2 − 1", "-7"),
        ("sqrt(16) + max(1, 2, 3)", "7"),
        ("round(pi, 2)", "3.14"),
        ("round(1250, -2)", "1200"),
        ("round(2.7)", "3"),
        ("round(2.7, 0)", "3"),
        (" 1e3 ", "1000"),
    ],
)
def test_arithmetic_is_computed(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("", "two plus two", "1 +", "1; 2", "x = 1", "'a' * 3", "True", "[1]", "(1, 2)", "1 if 1 else 2", "2j"),
        *("__import__('os')", "open('x')", "().__class__", "abs.__self__", "sqrt(x=4)", "lambda: 1", "max([1])"),
        *("9 ** 9 ** 9", "10 ** 1000000", "2.0 ** 100000", "1 / 0", "1 % 0", "sqrt(-1)", "(-8) ** 0.5", "log(0)"),
        *("1e308 * 10", "(" * 300 + ")" * 300, "-" * 499 + "1", "1" * 501, "9" * 400 + "**9", "f'{1}'"),
        *("round(5, -10**9)", "round(5, -10**2000)", "round(5, 10**9)", "round(5, 1.5)", "round(2.5, -2501)"),
    ],
)
def test_anything_else_is_refused_and_ends_at_once(expression: str) -> None:
    if expression == "-" * 499 + "1":
        assert calculate(expression) == "-1"  # deep, and sound
        return
    with pytest.raises(ToolFailure):
        calculate(expression)


def test_the_time_is_that_of_the_clock_in_the_zone_that_is_asked_for(clock: FakeClock) -> None:
    assert run("current_time", {}, clock).startswith("2026-")
    assert "+00:00 (" in run("current_time", {"timezone": "utc"}, clock)
    for zone in ("Nowhere/Town", "../../etc/passwd", "/etc/localtime"):
        with pytest.raises(ToolFailure):
            run("current_time", {"timezone": zone}, clock)


def test_every_builtin_is_described() -> None:
    assert DESCRIPTIONS.keys() == PARAMETERS.keys()
