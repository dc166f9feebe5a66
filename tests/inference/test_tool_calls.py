"""Tool calls in the formats of the model families."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secureai_appliance.inference import tool_calls
from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.grammar import Grammar
from secureai_appliance.inference.tool_calls import HERMES, LLAMA3, MISTRAL, Call, Part, ToolFormat
from tests.support.json_schemas import accepts, drawn

PLACE = {"type": "object", "properties": {"city": {"enum": ["Köln", "Rom"]}}, "required": ["city"]}
FUNCTIONS: dict[str, Any] = {"weather": PLACE, "now": {"type": "object", "additionalProperties": False}}
ROME = Call("weather", '{"city": "Rom"}')


def read(form: ToolFormat, text: str, size: int) -> list[Part]:
    """Text that arrives in pieces of `size` characters; neighbouring texts joined."""
    reader = tool_calls.reader(form, list(FUNCTIONS))
    parts = [part for at in range(0, len(text), size) for part in reader.feed(text[at : at + size])]
    joined: list[Part] = []
    for part in [*parts, *reader.finish()]:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


WRITTEN: list[tuple[ToolFormat, str, list[Part]]] = [
    (HERMES, "Just text < that > goes on.", ["Just text < that > goes on."]),
    (HERMES, '<tool_call>\n{"name": "weather", "arguments": {"city": "Rom"}}\n</tool_call>', [ROME]),
    (
        HERMES,
        'Let me see.<tool_call>{"name": "weather", "arguments": {"city": "Rom"}}</tool_call>\n'
        '<tool_call>{"name": "now", "arguments": {}}</tool_call>',
        ["Let me see.", ROME, "\n", Call("now", "{}")],
    ),
    (HERMES, '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Rom\\"}"}', [ROME]),
    (HERMES, "<tool_call>nonsense</tool_call>", ["<tool_call>nonsense</tool_call>"]),
    (
        HERMES,
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        ['<tool_call>{"name": "rm", "arguments": {}}</tool_call>'],
    ),
    (HERMES, '<tool_call>{"name": "weath', ['<tool_call>{"name": "weath']),
    (HERMES, "a <tool", ["a <tool"]),
    (LLAMA3, "It rains.", ["It rains."]),
    (LLAMA3, '{"name": "weather", "parameters": {"city": "Rom"}}', [ROME]),
    (LLAMA3, '<|python_tag|>{"name": "weather", "parameters": {"city": "Rom"}}', [ROME]),
    (
        LLAMA3,
        '{"name": "weather", "parameters": {"city": "Rom"}}; {"name": "now", "parameters": {}}',
        [ROME, Call("now", "{}")],
    ),
    (LLAMA3, '{"colour": "red"}', ['{"colour": "red"}']),
    (MISTRAL, "Hello [TOOL", ["Hello [TOOL"]),
    (MISTRAL, '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Rom"}}]', [ROME]),
    (
        MISTRAL,
        'Yes.[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rom"}}, {"name": "now", "arguments": {}}]',
        ["Yes.", ROME, Call("now", "{}")],
    ),
    (MISTRAL, "[TOOL_CALLS] broken", ["[TOOL_CALLS] broken"]),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("form", "text", "parts"), WRITTEN)
def test_calls_are_read_however_the_text_arrives(form: ToolFormat, text: str, parts: list[Part], size: int) -> None:
    assert read(form, text, size) == parts


@pytest.mark.parametrize("form", [HERMES, LLAMA3, MISTRAL], ids=lambda form: form.name)
@pytest.mark.parametrize("parallel", [True, False])
def test_what_the_grammar_allows_is_read_as_calls(chat_engine: Engine, form: ToolFormat, parallel: bool) -> None:
    made = Grammar(chat_engine.vocabulary, tool_calls.grammar(form, FUNCTIONS, parallel=parallel))
    counts = set()
    for seed in range(6):
        text = (form.opening or "") + drawn(made, chat_engine.vocabulary, seed, most=2000)
        calls = [part for part in read(form, text, 5) if isinstance(part, Call)]
        assert [part for part in read(form, text, 5) if isinstance(part, str) and part.strip()] == []
        counts.add(len(calls))
        for call in calls:
            assert call.name in FUNCTIONS
            assert json.loads(call.arguments).get("city", "Rom") in {"Köln", "Rom"}
    assert parallel or counts == {1}
    two = {
        "hermes": '{"name": "now", "arguments": {}}</tool_call><tool_call>{"name": "now", "arguments": {}}</tool_call>',
        "llama3": '{"name": "now", "parameters": {}};{"name": "now", "parameters": {}}',
        "mistral": '[{"name": "now", "arguments": {}},{"name": "now", "arguments": {}}]',
    }
    assert accepts(made, chat_engine.vocabulary, two[form.name]) == parallel


def test_the_grammar_takes_no_other_function_or_arguments(chat_engine: Engine) -> None:
    made = Grammar(chat_engine.vocabulary, tool_calls.grammar(LLAMA3, FUNCTIONS, parallel=False))
    assert accepts(made, chat_engine.vocabulary, '{"name": "weather", "parameters": {"city": "Rom"}}')
    for wrong in (
        '{"name": "rm", "parameters": {}}',
        '{"name": "weather", "parameters": {}}',
        '{"name": "weather", "parameters": {"city": "Bonn"}}',
    ):
        assert not accepts(made, chat_engine.vocabulary, wrong)


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
        ("{% if tools %}<tool_call>{{ tools }}{% endif %}", HERMES),
        ("{% if tools %}<tool_call><function={{ tools }}{% endif %}", None),
        ("{{ tools }}[TOOL_CALLS]", MISTRAL),
        ("{{ tools }}[TOOL_CALLS]name[ARGS]", None),
        ('{{ tools }}Environment: ipython {"parameters": 1}', LLAMA3),
        ("{{ tools }}<|tool▁calls▁begin|>", None),
    ],
)
def test_a_templates_format_is_known_by_its_marks(template: str, form: ToolFormat | None) -> None:
    assert tool_calls.format_of(template) == form


def test_a_template_without_tools_gets_them_as_text() -> None:
    tool = {"type": "function", "function": {"name": "weather", "description": "", "parameters": PLACE}}
    call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rom"}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "call-1"},
        {"role": "tool", "content": "wind", "tool_call_id": "call-1"},
    ]
    made = tool_calls.generic_messages(messages, [tool])
    assert [message["role"] for message in made] == ["system", "user", "assistant", "user"]
    assert made[0]["content"].startswith("Be brief.\n\n")
    assert '"name": "weather"' in made[0]["content"]
    assert made[2]["content"] == '<tool_call>\n{"name": "weather", "arguments": {"city": "Rom"}}\n</tool_call>'
    assert made[3]["content"].count("<tool_response>") == 2
    assert tool_calls.generic_messages(messages[1:2], [tool])[0]["role"] == "system"
    assert tool_calls.generic_messages(messages[:2], []) == messages[:2]
