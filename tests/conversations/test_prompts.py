from __future__ import annotations

import tracemalloc

import pytest

from secureai_appliance.conversations import prompts
from secureai_appliance.conversations.prompts import Prompt, PromptRender
from secureai_appliance.core.errors import UnprocessableEntity


def _prompt(content: str) -> Prompt:
    return Prompt(
        id="prompt-1",
        owner_id="usr-1",
        name="Many",
        visibility="private",
        shares=[],
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:00:00Z",
        slug="many",
        description="",
        content=content,
        variables=["a"],
        tags=[],
    )


def test_a_text_that_would_be_too_long_is_never_made() -> None:
    asked, prompt = PromptRender(variables={"a": "y" * 50_000}), _prompt("{{a}}" * 1000)
    tracemalloc.start()
    try:
        with pytest.raises(UnprocessableEntity):
            prompts.render(prompt, asked)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_text_of_the_greatest_length_is_made() -> None:
    asked = PromptRender(variables={"a": "y" * 1000})
    assert len(prompts.render(_prompt("{{ a }}" * 1000), asked).text) == 1_000_000
    with pytest.raises(UnprocessableEntity):
        prompts.render(_prompt("{{ a }}" * 1000 + "."), asked)
