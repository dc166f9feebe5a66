"""How models write tool calls, and how to read them out of the text.

Three formats are known: Hermes and Qwen (`<tool_call>{"name", "arguments"}</tool_call>`), Llama 3 (bare
`{"name", "parameters"}`) and Mistral (`[TOOL_CALLS][{"name", "arguments"}]`). A model whose template knows no
tools, or writes them in yet another way, is told in its system message to use the first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from secureai_appliance.inference import schema_rules
from secureai_appliance.inference.json_schema import GrammarWriter

MOST_CALLS = 16
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MISTRAL = "[TOOL_CALLS]"
_PYTHON = "<|python_tag|>"

FormatName = Literal["hermes", "llama3", "mistral"]


@dataclass(frozen=True)
class ToolFormat:
    """`opening` stands before the calls; None: nothing does. `arguments`: the name of the member that has them."""

    name: FormatName
    opening: str | None
    arguments: str
    marks: tuple[str, ...]
    """Texts that a vocabulary may hold as control tokens, and that must be seen nevertheless."""


HERMES = ToolFormat("hermes", _OPEN, "arguments", (_OPEN, _CLOSE))
LLAMA3 = ToolFormat("llama3", None, "parameters", (_PYTHON,))
MISTRAL = ToolFormat("mistral", _MISTRAL, "arguments", (_MISTRAL,))


@dataclass(frozen=True)
class Call:
    """A call that was read: `arguments` is JSON text of an object."""

    name: str
    arguments: str


Part = str | Call


def format_of(template: str) -> ToolFormat | None:
    """The format that a chat template writes tool calls in; None when it has no tools, or another format."""
    if not re.search(r"\btools\b", template):
        return None
    if _MISTRAL in template:
        return None if "[ARGS]" in template else MISTRAL
    if _OPEN in template:
        return None if "<function=" in template or "<arg_key>" in template else HERMES
    return LLAMA3 if "ipython" in template and '"parameters"' in template else None


def grammar(form: ToolFormat, functions: Mapping[str, Any], *, parallel: bool) -> str:
    """The grammar of calls, after the format's opening. `functions`: names, and the schemas of their arguments.

    Raises UnsupportedSchema.
    """

    def root(writer: GrammarWriter) -> str:
        call = writer.add(" | ".join(_call(writer, form, name, schema) for name, schema in functions.items()))
        more = f"{{0,{MOST_CALLS - 1}}}" if parallel else "{0,0}"
        match form.name:
            case "hermes":
                one = f"ws {call} ws {schema_rules.literal(_CLOSE)}"
                return f"{one} (ws {schema_rules.literal(_OPEN)} {one}){more}"
            case "llama3":
                return f'{call} (";" ws {call}){more}'
            case "mistral":
                return f'ws "[" ws {call} ("," ws {call}){more} ws "]"'

    return GrammarWriter().text(root)


def _call(writer: GrammarWriter, form: ToolFormat, name: str, schema: Any) -> str:
    rule = writer.add_schema(schema, schema, ("object",))
    head = schema_rules.literal(f'{{"name": {json.dumps(name)}, "{form.arguments}": ')
    return f'{head} {rule} ws "}}"'


class Reader(Protocol):
    """Reads one answer as it comes."""

    def feed(self, text: str) -> list[Part]:
        """Text that is no part of a call, and calls that are complete."""

    def finish(self) -> list[Part]:
        """What was held back. A call that was cut off is text."""


def reader(form: ToolFormat, names: Sequence[str]) -> Reader:
    """A reader of calls of the functions `names`; any other is text."""
    if form.name == "hermes":
        return _TaggedReader(frozenset(names))
    return _WholeReader(form, frozenset(names))


class _TaggedReader:
    """Calls between tags, each told as soon as it is closed."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._held = ""
        self._inside = False
        self._written = False

    def feed(self, text: str) -> list[Part]:
        self._held += text
        parts: list[Part] = []
        while True:
            tag = _CLOSE if self._inside else _OPEN
            before, found, after = self._held.partition(tag)
            if not found:
                break
            parts += self._call(before) if self._inside else self._text(before)
            self._held, self._inside = after, not self._inside
        if not self._inside:
            keep = _overlap(self._held, _OPEN)
            ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
            parts += self._text(ready)
        return parts

    def finish(self) -> list[Part]:
        held, self._held = self._held, ""
        if not self._inside:
            return self._text(held)
        self._inside = False
        call = _read_call(held, self._names)
        return [call] if call is not None else [_OPEN + held]

    def _call(self, text: str) -> list[Part]:
        call = _read_call(text, self._names)
        return [call] if call is not None else [_OPEN + text + _CLOSE]

    def _text(self, text: str) -> list[Part]:
        """Blanks before the first word and between calls are layout, not content."""
        if not text or not (self._written or text.strip()):
            return []
        self._written = True
        return [text]


class _WholeReader:
    """Calls that only the end of the answer completes. Text that can't be calls is let through at once."""

    def __init__(self, form: ToolFormat, names: frozenset[str]) -> None:
        self._form = form
        self._names = names
        self._held = ""
        self._text = False

    def feed(self, text: str) -> list[Part]:
        self._held += text
        if self._form.name == "mistral":
            return self._before_opening()
        start = self._held.lstrip()
        if not self._text and start and not start.startswith("{") and not _PYTHON.startswith(start[: len(_PYTHON)]):
            self._text = True
        return self._release(len(self._held)) if self._text else []

    def finish(self) -> list[Part]:
        held, self._held = self._held, ""
        if self._text:
            return [held] if held else []
        calls = _read_calls(held.strip().removeprefix(_PYTHON).removeprefix(_MISTRAL).lstrip(), self._names)
        if calls is None:
            return [held] if held else []
        return list(calls)

    def _before_opening(self) -> list[Part]:
        at = self._held.find(_MISTRAL)
        return self._release(at if at >= 0 else len(self._held) - _overlap(self._held, _MISTRAL))

    def _release(self, length: int) -> list[Part]:
        ready, self._held = self._held[:length], self._held[length:]
        return [ready] if ready else []


def _read_call(text: str, names: frozenset[str]) -> Call | None:
    calls = _read_calls(text.strip(), names)
    return calls[0] if calls is not None and len(calls) == 1 else None


def _read_calls(text: str, names: frozenset[str]) -> list[Call] | None:
    """One or more calls, in a list or one after another; None when `text` is anything else."""
    values: list[Any] = []
    decoder = json.JSONDecoder()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return None
        values += value if isinstance(value, list) else [value]
        text = text[end:].lstrip(" \n\t;")
    calls = [_as_call(value, names) for value in values]
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def _as_call(value: Any, names: frozenset[str]) -> Call | None:
    if not isinstance(value, dict):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    name = value.get("name")
    if not isinstance(name, str) or name not in names or not isinstance(arguments, dict):
        return None
    return Call(name, json.dumps(arguments, ensure_ascii=False))


def _overlap(text: str, mark: str) -> int:
    """The length of the longest end of `text` that `mark` begins with."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)


# --- for templates that know no tools


def generic_messages(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with everything about tools as text, in the Hermes format.

    The system message explains the tools; calls and results of earlier turns stand in tags, results as the user's.
    """
    made: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role == "tool":
            text = f"<tool_response>\n{message['content']}\n</tool_response>"
            if made and made[-1].get("results"):
                made[-1]["content"] += f"\n{text}"
            else:
                made.append({"role": "user", "content": text, "results": True})
        elif message.get("tool_calls"):
            made.append({"role": role, "content": _written(message)})
        else:
            made.append({"role": role, "content": message["content"]})
    if not tools:
        return made
    explained = _explain(tools)
    if made and made[0]["role"] in ("system", "developer"):
        first = {"role": "system", "content": f"{made[0]['content']}\n\n{explained}"}
        return [first, *made[1:]]
    return [{"role": "system", "content": explained}, *made]


def _explain(tools: Sequence[Mapping[str, Any]]) -> str:
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    return (
        "You can call functions. These are the functions, with JSON schemas of their arguments:\n"
        f"<tools>\n{listed}\n</tools>\n"
        "To call one, answer with its name and arguments as JSON between tags, and nothing else:\n"
        f'{_OPEN}\n{{"name": "function name", "arguments": {{"argument": "value"}}}}\n{_CLOSE}\n'
        "Results come back between <tool_response> and </tool_response>; answer the user with them."
    )


def _written(message: Mapping[str, Any]) -> str:
    calls = [
        f"{_OPEN}\n"
        + json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]}, ensure_ascii=False)
        + f"\n{_CLOSE}"
        for call in message["tool_calls"]
    ]
    return "\n".join([*([message["content"]] if message["content"] else []), *calls])
