"""The examples of the guide's chapter on chats, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.support.running import Running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def examples() -> list[str]:
    chapter = re.search(r"^## Chats\n(.*?)^## ", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert chapter is not None
    blocks = re.findall(r"```sh\n(.*?)```", chapter[1], re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line]


def test_every_example_works_one_after_the_other(api: Running) -> None:
    environment = {**os.environ, "SERVER": api.appliance.address, "SECUREAI_KEY": api.key}
    answers: list[str] = []
    for example in examples():
        command = example.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (example, done.stdout, done.stderr)
        if "CHAT" not in environment:
            environment["CHAT"] = json.loads(done.stdout)["chat_id"]
        answers.append(done.stdout)
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
