"""Which turns are left out of a prompt that is too long."""

from __future__ import annotations

from typing import Any

import pytest

from secureai_appliance.conversations import truncation

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "s" * 10},
    {"role": "user", "content": "a" * 10},
    {"role": "assistant", "content": "b" * 10},
    {"role": "user", "content": "c" * 10},
    {"role": "assistant", "content": "", "tool_calls": [{}]},
    {"role": "tool", "content": "d" * 10},
    {"role": "user", "content": "e" * 10},
]


def render(messages: truncation.Messages) -> list[int]:
    return [ord(character) for message in messages for character in message["content"]]


@pytest.mark.parametrize(
    ("limit", "kept", "dropped"),
    [
        (60, "sabcde", []),
        (59, "scde", [1, 2]),
        (40, "scde", [1, 2]),
        (39, "se", [1, 2, 3, 4, 5]),
        (5, "se", [1, 2, 3, 4, 5]),
    ],
)
def test_the_oldest_turns_go_whole_until_it_fits(limit: int, kept: str, dropped: list[int]) -> None:
    fitted = truncation.fit(render, MESSAGES, limit)
    assert sorted({chr(token) for token in fitted.prompt}) == sorted(kept)
    assert (fitted.dropped, fitted.whole) == (dropped, 60)


def test_a_long_chat_is_rendered_a_few_times_only() -> None:
    rendered = []

    def counted(messages: truncation.Messages) -> list[int]:
        rendered.append(len(messages))
        return render(messages)

    chat = [{"role": "user", "content": "x" * 10} for _ in range(1000)]
    assert len(truncation.fit(counted, chat, 995).prompt) == 990
    assert len(rendered) <= 12


def test_half_of_the_context_is_always_left_to_the_prompt() -> None:
    assert truncation.room(1000, None) == 744
    assert truncation.room(1000, 100) == 900
    assert truncation.room(1000, 5000) == 500
