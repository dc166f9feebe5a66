"""The examples of the guide's chapter on prompts, assistants and tools, run as they stand."""

from __future__ import annotations

import json

import openai
import pytest

from tests.support import guide
from tests.support.running import Running


def test_the_examples_of_prompts_work(api: Running) -> None:
    create, render = guide.commands("### Prompts")
    environment = guide.environment(api)
    made = json.loads(guide.run(create, environment))
    assert made["variables"] == ["part", "car"]
    shown = json.loads(guide.run(render, {**environment, "PROMPT": made["id"]}))
    assert shown["text"] == "What brake pads fit a 2019 Honda Civic?"


def test_the_examples_of_assistants_work(api: Running) -> None:
    create, ask = guide.commands("### Assistants")
    environment = guide.environment(api)
    made = json.loads(guide.run(create, environment))
    assert made["slug"] == "parts-desk"
    assert json.loads(guide.run(ask, environment))["choices"][0]["message"]["role"] == "assistant"


def test_the_examples_of_tools_work(api: Running, capsys: pytest.CaptureFixture[str]) -> None:
    create, invoke = guide.commands("## Prompts, assistants, tools")[4:]
    environment = guide.environment(api)
    tool = json.loads(guide.run(create, environment))["id"]
    called = json.loads(guide.run(invoke, {**environment, "TOOL": tool}))
    assert (called["ok"], called["result"]) == (True, "246")
    (program,) = guide.blocks("## Prompts, assistants, tools", "python")
    names = {
        "openai": openai,
        "SERVER": api.appliance.address,
        "SECUREAI_KEY": environment["SECUREAI_KEY"],
        "TOOL": tool,
    }
    exec(program, names)
    assert "calculator {" in capsys.readouterr().out
