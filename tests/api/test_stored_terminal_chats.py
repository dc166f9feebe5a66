"""`secureai chat` with chats that the server keeps."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from secureai_appliance.cli import cli
from secureai_appliance.client import Client
from secureai_appliance.core.errors import StartupError
from secureai_appliance.terminal_chat import newest_chat
from tests.support.people import person
from tests.support.running import Running


def test_a_stored_chat_is_gone_on_with_by_its_id_or_as_the_newest(api: Running) -> None:
    ann = person(api)
    made = ann.make("/assistants", {"system_prompt": "Be brief.", "model": "gpt-4", "parameters": {"max_tokens": 4}})

    def run(*options: str, typed: str = "Hello") -> tuple[int, str, str]:
        command = ["chat", "--url", api.appliance.address, "--key", ann.key, *options]
        done = CliRunner().invoke(cli, command, input=typed)
        return done.exit_code, done.stdout, done.stderr

    client = Client(api.appliance.address, ann.key)
    with pytest.raises(StartupError, match="no chat"):
        newest_chat(client)
    code, answer, told = run("--store", "--assistant", made["slug"])
    (chat,) = ann.ask("GET", "/chats").json["data"]
    assert (code, told) == (0, f"Go on with: secureai chat --chat {chat['id']}\n")
    assert chat["assistant_id"] == made["id"]
    assert run("--chat", chat["id"])[::2] == (0, "")
    assert run("--continue")[0] == 0
    said = [message["role"] for message in ann.ask("GET", f"/chats/{chat['id']}").json["messages"]]
    assert said == ["user", "assistant"] * 3
    code, _, told = run("--chat", chat["id"], "--continue")
    assert (code, "not both" in told) == (2, True)
    assert run("--chat", "chat-none")[0] == 1
    assert answer.strip()
