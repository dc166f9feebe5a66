"""What the prompts of an assistant's users have in common is computed once, and nothing else of theirs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.people import Person, person
from tests.support.running import Running

INSTRUCTIONS = "You sell parts for cars. " + " ".join(f"Rule {number}: be brief and kind." for number in range(7))
SAID = "Which brake pads fit a Honda Civic of 2019 with the small engine, and what do they cost in the city?"


@pytest.fixture(scope="module")
def assistant(api: Running) -> str:
    admin = person(api, "admin")
    made = admin.make("/assistants", {"system_prompt": INSTRUCTIONS, "model": "gpt-4", "visibility": "everyone"})
    return str(made["id"])


def ask(by: Person, assistant: str, text: str, **fields: Any) -> tuple[int, int]:
    """Tokens of the prompt, and how many of them were there already."""
    said = [{"role": "user", "content": text}]
    body = {"assistant_id": assistant, "messages": said, "max_tokens": 1, **fields}
    answer = by.ask("POST", "/chat/completions", body)
    assert answer.status == 200, answer.body
    usage = answer.json["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def test_the_instructions_are_shared_and_the_words_of_users_are_not(api: Running, assistant: str) -> None:
    ann, bob, eve = person(api), person(api), person(api)
    length, cold = ask(ann, assistant, SAID)
    of_user = len(ann.ask("POST", "/tokenize", {"model": "gpt-4", "input": SAID}).json["tokens"])
    assert cold == 0
    # the same words by another: what is shared ends where they begin
    _, shared = ask(bob, assistant, SAID)
    assert 50 < shared <= length - of_user
    _, with_other_words = ask(eve, assistant, "a b")
    assert with_other_words == shared
    # what is their own is there for them alone
    assert ask(bob, assistant, SAID) == (length, length - 1)


def test_without_the_assistant_the_same_text_is_nobody_elses(api: Running, assistant: str) -> None:
    ann, bob = person(api), person(api)
    ask(ann, assistant, SAID)
    messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": SAID}]
    usage = bob.ask("POST", "/chat/completions", {"model": "gpt-4", "messages": messages, "max_tokens": 1}).json[
        "usage"
    ]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0


def test_a_clients_own_tools_are_not_shared(api: Running, assistant: str) -> None:
    function = {"name": "look_up", "parameters": {"type": "object", "properties": {"secret": {"type": "string"}}}}
    tools = [{"type": "function", "function": function}]
    assert ask(person(api), assistant, SAID, tools=tools, tool_choice="none")[1] == 0
    assert ask(person(api), assistant, SAID, tools=tools, tool_choice="none")[1] == 0
