"""Tools that come with the appliance and reach nothing outside of it; `knowledge_search` has a file of its own."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from secureai_appliance.conversations.toolbox.failures import ToolFailure
from secureai_appliance.core.clock import Clock

BuiltinName = Literal["calculator", "current_time", "knowledge_search"]

_LONGEST = 500
_MOST_BITS = 8192
_MOST_PLACES = 2500  # more digits than any value has
_SPELLINGS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**"})

Number = int | float

DESCRIPTIONS: dict[str, str] = {
    "calculator": "Computes an arithmetic expression exactly, such as (17.5 + 3) * 12. Knows + - * / // % **, brackets,"
    " pi, e, sqrt, abs, round, floor, ceil, min, max, exp, log, log10, sin, cos, tan.",
    "knowledge_search": "Searches the documents and gives numbered passages. Put the number of a passage that you use"
    " behind the statement, like [1]. Ask for what you need to know in a few words or a question.",
    "current_time": "Tells the date, the time and the day of the week, in UTC or in a time zone such as Europe/Berlin.",
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "calculator": {
        "type": "object",
        "properties": {"expression": {"type": "string", "minLength": 1, "maxLength": _LONGEST}},
        "required": ["expression"],
        "additionalProperties": False,
    },
    "current_time": {
        "type": "object",
        "properties": {"timezone": {"type": "string", "maxLength": 64}},
        "additionalProperties": False,
    },
    "knowledge_search": {
        "type": "object",
        "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 2000}},
        "required": ["query"],
        "additionalProperties": False,
    },
}


def run(name: Literal["calculator", "current_time"], arguments: dict[str, Any], clock: Clock) -> str:
    """What the tool says. Raises ToolFailure."""
    if name == "calculator":
        return calculate(arguments["expression"])
    return _current_time(arguments.get("timezone", "UTC"), clock)


def calculate(expression: str) -> str:
    """The value of an arithmetic expression. Raises ToolFailure for anything else, and for what would not end."""
    if len(expression) > _LONGEST:
        raise ToolFailure("invalid_expression", f"An expression has at most {_LONGEST} characters.")
    try:
        tree = ast.parse(expression.translate(_SPELLINGS).strip(), mode="eval")
        return _written(_value(tree.body))
    except ToolFailure:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as cause:
        raise ToolFailure("invalid_expression", "This is no arithmetic expression.") from cause
    except ZeroDivisionError as cause:
        raise ToolFailure("invalid_expression", "The expression divides by zero.") from cause
    except (OverflowError, TypeError) as cause:
        raise ToolFailure("invalid_expression", "The expression has no value that can be computed.") from cause


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) * max(1, base.bit_length()) > _MOST_BITS:
        raise ToolFailure("invalid_expression", "The value would be too large.")
    value = base**exponent
    if isinstance(value, complex):
        raise ToolFailure("invalid_expression", "The expression has no real value.")
    result: Number = value
    return result


def _round(value: Number, places: int = 0) -> Number:
    """Python makes 10 to the number of places first: a few digits of it would stop the whole process for hours."""
    if abs(places) > _MOST_PLACES:
        raise ToolFailure("invalid_expression", f"A value is rounded to at most {_MOST_PLACES} places.")
    return round(value, places) if places else round(value)


_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_NAMES: dict[str, Number] = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    **{"sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log10": math.log10, "sin": math.sin, "cos": math.cos},
    **{"tan": math.tan, "floor": math.floor, "ceil": math.ceil, "abs": abs, "round": _round, "min": min, "max": max},
}


def _value(node: ast.expr) -> Number:
    """Nothing is looked up, called or built but what stands in the tables above."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
            return _bounded(_FUNCTIONS[name](*[_value(arg) for arg in args]))
    raise ToolFailure("invalid_expression", "This is no arithmetic expression.")


def _bounded(value: Number) -> Number:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ToolFailure("invalid_expression", "The value would be too large.")
    return value


def _written(value: Number) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ToolFailure("invalid_expression", "The expression has no finite value.")
        # 15 digits: 0.1 + 0.2 is 0.3 to whoever asks
        return f"{value:.15g}"
    return str(value)


def _current_time(timezone: str, clock: Clock) -> str:
    now = datetime.fromtimestamp(int(clock.now()), UTC)
    try:
        local = now.astimezone(UTC if timezone.upper() == "UTC" else ZoneInfo(timezone))
    except (KeyError, ValueError, OSError) as cause:
        raise ToolFailure("invalid_arguments", "There is no such time zone here.") from cause
    return f"{local.isoformat()} ({local:%A})"
