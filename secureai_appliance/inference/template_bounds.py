"""The sandbox of chat templates, with bounds: a template is a program that came with a file from somewhere.

Products, powers and paddings are looked at before they are made, the rounds of all loops and the length of the text are
counted. One rendering costs a second or so at worst, and no more memory than a long prompt.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_CHARACTERS = 64 * 1024 * 1024
"""Of a rendered prompt, and of any text on the way there. A body has at most 16 MB."""
MOST_ROUNDS = 1_000_000
"""Of all loops of one rendering."""
_LARGEST_NUMBER = 1_000_000
_LOOP = "_counted"
_CONCATENATION = "_joined"
_WIDTH = re.compile(r"[%{][^%{}]*?(\d{5,}|\*)")


class TooMuch(TemplateError):
    """The template wants more than any prompt needs."""


class _Rounds(threading.local):
    left = 0


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Jinja's own sandbox, and what it costs is bounded."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._rounds = _Rounds()
        self.filters = {name: _bounded(function) for name, function in self.filters.items()}
        self.filters |= {_LOOP: self._counted, _CONCATENATION: _joined}

    def expand(self, template: Template, **values: Any) -> str:
        """The text. Raises TemplateError, TooMuch among them, and whatever a template can raise."""
        self._rounds.left = MOST_ROUNDS
        pieces: list[str] = []
        length = 0
        for piece in template.generate(**values):
            length += len(piece)
            if length > MOST_CHARACTERS:
                raise TooMuch
            pieces.append(piece)
        return "".join(pieces)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _CountLoops().visit(Parser(self, source, name, filename).parse())
        return parsed

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = _size(left), _size(right)
        if (
            (operator == "*" and sizes[0] * sizes[1] > MOST_CHARACTERS)
            or (operator == "**" and (sizes[0] > _LARGEST_NUMBER or sizes[1] > 64))
            or (operator == "+" and sizes[0] + sizes[1] > MOST_CHARACTERS and not isinstance(left, int | float))
            or (operator == "%" and isinstance(left, str) and _WIDTH.search(left))
        ):
            raise TooMuch
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _check(args, kwargs)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _check_method(owner, getattr(__obj, "__name__", ""), args)
        return _checked(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        # what templates call in place of `str.format`; it hides whose method it is
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and _WIDTH.search(str(value.__self__)):
            raise TooMuch
        return wrapped

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._rounds.left -= 1
            if self._rounds.left < 0:
                raise TooMuch
            yield item


class _CountLoops(NodeTransformer):
    """Has the rounds of every loop counted, and what `~` makes of its parts."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, _CONCATENATION, [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, _LOOP, [], [], None, None, lineno=node.lineno)
        return node


def _joined(parts: list[Any]) -> str:
    texts = [str(part) for part in parts]
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise TooMuch
    return "".join(texts)


def _check_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    """Methods of texts whose result may be far longer than what goes in."""
    if name == "replace" and len(args) > 1 and text.count(str(args[0])) * _size(args[1]) > MOST_CHARACTERS:
        raise TooMuch
    if name == "join" and args and isinstance(args[0], list | tuple):
        _joined([*args[0], *[text] * max(0, len(args[0]) - 1)])


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        _check(args, kwargs)
        # the first is the text, or what the filter is told about where it is, and then the text
        for at, value in enumerate(args[:2]):
            if isinstance(value, str):
                _check_method(value, function.__name__.removeprefix("do_"), args[at + 1 :])
                break
        return _checked(function(*args, **kwargs))

    return filtered


def _check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if any(isinstance(value, int) and abs(value) > _LARGEST_NUMBER for value in (*args, *kwargs.values())):
        raise TooMuch


def _checked(value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > MOST_CHARACTERS:
        raise TooMuch
    return value


def _size(value: Any) -> float:
    """Of a number how large it is, of a text or list how long."""
    if isinstance(value, int | float):
        return abs(value)
    return len(value) if isinstance(value, str | list | tuple) else 1
