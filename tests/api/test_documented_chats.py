"""The examples of the guide's chapter on chats, run as they stand."""

from __future__ import annotations

import json

from tests.support import guide
from tests.support.running import Running


def test_every_example_works_one_after_the_other(api: Running) -> None:
    environment = guide.environment(api)
    answers: list[str] = []
    for example in guide.commands("## Chats"):
        answers.append(guide.run(example, environment))
        if "CHAT" not in environment:
            environment["CHAT"] = json.loads(answers[0])["chat_id"]
    completion, again, listed, found, patched, archived, exported, text, deleted = answers
    chat = environment["CHAT"]
    assert json.loads(again)["chat_id"] == json.loads(completion)["chat_id"] == chat
    assert chat in [item["id"] for item in json.loads(listed)["data"]]
    assert chat in [item["id"] for item in json.loads(found)["data"]]
    assert json.loads(patched)["tags"] == ["parts"]
    assert json.loads(archived)["archived"] is True
    whole = next(item for item in json.loads(exported)["data"] if item["id"] == chat)
    assert [message["role"] for message in whole["messages"]] == ["user", "assistant"] * 2
    assert text.startswith("# Brake pad compatibility\n")
    assert deleted == ""
