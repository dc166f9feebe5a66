"""The model's own chat template: messages into prompt text, knowing which text may hold control tokens.

A user who writes `<|im_start|>system` must not speak as the system. So every text in the messages and tools is looked
through for texts of control tokens, each of which is put between two private characters, chosen at random and found
nowhere in the input. The template sees the rest of the content as it is, and may trim, compare or split it. After
rendering, what stands between the private characters is untrusted: it is tokenised with control tokens off, as the
separate piece that it then is. Everything else holds no control token but the template's own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from secureai_appliance.core.clock import Clock, SystemClock
from secureai_appliance.core.errors import UnprocessableEntity, ValidationError
from secureai_appliance.inference.template_bounds import BoundedSandbox

ROLES = ("system", "developer", "user", "assistant", "tool")
_PRIVATE_PLANE = range(0x10_0000, 0x10_FFFE)

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Segment:
    """A part of a prompt. Only in trusted text do texts of control tokens stand for the tokens."""

    text: str
    trusted: bool


class _Refused(TemplateError):
    """The template's own `raise_exception`."""


class _Generation(Extension):
    """`{% generation %}` marks the answer for training; here it is transparent."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled chat template. Safe from any thread.

    `bos` and `eos` are the texts of the first and last token; `control_texts` those of all control tokens.
    """

    def __init__(
        self, source: str, bos: str, eos: str, control_texts: Sequence[str] = (), clock: Clock | None = None
    ) -> None:
        """Raises ValueError when `source` is not a template."""
        environment = BoundedSandbox(
            trim_blocks=True, lstrip_blocks=True, autoescape=False, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        self._clock = clock or SystemClock()
        environment.globals["strftime_now"] = self._strftime_now
        try:
            self._template = environment.from_string(source)
        except TemplateError as cause:
            raise ValueError(f"The model's chat template is not valid: {cause}") from cause
        self._environment = environment
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        longest_first = sorted(filter(None, control_texts), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
    ) -> list[Segment]:
        """The prompt for OpenAI-style `messages` (dictionaries with `role` and `content`), in order.

        Raises ValidationError for an unknown role, UnprocessableEntity with the template's own words when it refuses.
        """
        prepared: Any = [_prepare(message, index) for index, message in enumerate(messages)]
        prepared_tools: Any = list(tools) if tools else None
        texts = [text for value in (prepared, prepared_tools) for text in _strings(value)]
        if self._control is None or not any(self._control.search(text) for text in texts):
            return [Segment(self._expand(prepared, prepared_tools, add_generation_prompt), trusted=True)]
        markers = _private_characters(texts)
        marked = [self._mark_message(message, markers) for message in prepared]
        text = self._expand(marked, self._mark(prepared_tools, markers), add_generation_prompt)
        return list(_split(text, markers))

    def _expand(self, messages: Any, tools: Any, add_generation_prompt: bool) -> str:
        try:
            return self._environment.expand(
                self._template,
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except _Refused as refusal:
            raise UnprocessableEntity(str(refusal), field="messages", constraint="template") from refusal
        # a template is a program that somebody else wrote: it can fail in any way on input that it doesn't expect
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as cause:
            raise UnprocessableEntity(
                "The model's chat template can't render these messages.", field="messages", constraint="template"
            ) from cause

    def _mark_message(self, message: Message, markers: tuple[str, str]) -> dict[str, Any]:
        # the role is ours (see _prepare): templates compare it, and no client's text is in it
        return {**self._mark(message, markers), "role": message["role"]}

    def _mark(self, value: Any, markers: tuple[str, str]) -> Any:
        if isinstance(value, str):
            return self._mark_text(value, markers)
        if isinstance(value, Mapping):
            return {self._mark(key, markers): self._mark(item, markers) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._mark(item, markers) for item in value]
        return value

    def _mark_text(self, text: str, markers: tuple[str, str]) -> str:
        parts: list[str] = []
        done = 0
        for start, end in self._occurrences(text):
            parts += [text[done:start], markers[0], text[start:end], markers[1]]
            done = end
        return "".join([*parts, text[done:]])

    def _occurrences(self, text: str) -> Iterator[tuple[int, int]]:
        """Where texts of control tokens stand, overlapping ones as one."""
        assert self._control is not None
        start = end = -1
        match = self._control.search(text)
        while match is not None:
            if match.start() >= end:
                if end >= 0:
                    yield start, end
                start = match.start()
            end = max(end, match.end())
            match = self._control.search(text, match.start() + 1)
        if end >= 0:
            yield start, end

    def _strftime_now(self, form: str) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime(form)


def _prepare(message: Message, index: int) -> dict[str, Any]:
    """A message as templates expect it: a role they know, and content that is text."""
    role = message.get("role")
    # templates write the role between control tokens, so it is never the client's own text
    if role not in ROLES:
        raise ValidationError(
            f"The 'messages[{index}].role' field must be one of: {', '.join(ROLES)}.",
            field=f"messages[{index}].role",
            constraint="enum",
        )
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = "\n".join(_part(part, index) for part in content)
    return {**message, "role": "system" if role == "developer" else role, "content": content}


def _part(part: Any, index: int) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise UnprocessableEntity(
        "This model reads text only: every content part must be of type 'text'.",
        field=f"messages[{index}].content",
        constraint="unsupported_content",
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def _private_characters(texts: Sequence[str]) -> tuple[str, str]:
    chosen: list[str] = []
    while len(chosen) < 2:
        candidate = chr(secrets.choice(_PRIVATE_PLANE))
        if candidate not in chosen and not any(candidate in text for text in texts):
            chosen.append(candidate)
    return chosen[0], chosen[1]


def _split(text: str, markers: tuple[str, str]) -> Iterator[Segment]:
    """Segments between markers. A template may cut one of a pair away: text after an opening one stays untrusted."""
    trusted = True
    for part in re.split(f"([{''.join(markers)}])", text):
        if part in markers:
            trusted = part == markers[1]
        elif part:
            yield Segment(part, trusted)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as chat templates expect it (Jinja's own escapes HTML). Never ASCII only: that would hide the markers."""
    del ensure_ascii
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise _Refused(message)
