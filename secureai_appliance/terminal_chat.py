"""`secureai chat`: a conversation in the terminal, over HTTP, the quickest way to try a model or an assistant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote

from secureai_appliance.client import Client
from secureai_appliance.core.errors import StartupError

Message = dict[str, str]
Write = Callable[[str], None]
DEFAULT_MODEL = "default"


class Conversation:
    """What was said so far: kept here, or by the server as a chat."""

    def __init__(
        self, client: Client, *, model: str | None = None, assistant: str | None = None, store: bool = False
    ) -> None:
        """`store`: the server keeps it as a chat, whose id is there after the first answer.

        `bases`, to be set: ids or slugs of knowledge bases to answer from; their sources are written below the answers.
        """
        self._client = client
        self._whom: dict[str, Any] = {"assistant_id": assistant} if assistant else {}
        if model or not assistant:
            self._whom["model"] = model or DEFAULT_MODEL
        self._store = store
        self._messages: list[Message] = []
        self.chat_id: str | None = None
        self.bases: Sequence[str] = ()

    @classmethod
    def of_chat(cls, client: Client, chat_id: str, *, model: str | None, assistant: str | None) -> Conversation:
        """To go on with a chat: with whom it was, unless another one is named. Raises StartupError."""
        chat = client.ask("GET", f"/chats/{quote(chat_id, safe='')}")
        if not model and not assistant:
            model, assistant = (None, chat["assistant_id"]) if chat["assistant_id"] else (chat["model"], None)
        made = cls(client, model=model, assistant=assistant, store=True)
        made.chat_id = chat["id"]
        return made

    def answer(self, line: str, write: Write) -> None:
        """Say `line`, and write the answer as it comes. Raises StartupError."""
        said = {"role": "user", "content": line}
        body = {**self._whom, "messages": [*self._messages, said], "stream": True}
        if self._store:
            body |= {"chat_id": self.chat_id} if self.chat_id else {"store": True}
        if self.bases:
            body["knowledge_base_ids"] = list(self.bases)
        whole: list[str] = []
        citations: list[dict[str, Any]] = []
        coverage: dict[str, Any] | None = None
        for chunk in self._client.stream("/chat/completions", body):
            self.chat_id = chunk.get("chat_id") or self.chat_id
            citations += chunk.get("citations", [])
            coverage = chunk.get("retrieval", {}).get("coverage") or coverage
            for choice in chunk.get("choices", []):
                if text := choice["delta"].get("content"):
                    whole.append(text)
                    write(_harmless(text))
        write("\n")
        # of a model that names none, all are shown
        for citation in [each for each in citations if each["cited"]] or citations:
            page = "" if citation["page"] is None else f", page {citation['page']}"
            write(_harmless(f"  [{citation['index']}] {citation['filename']}{page}\n"))
        if coverage and not coverage["complete"]:
            write(f"  (from {coverage['share']:.0%} of the text)\n")
        if not self._store:
            self._messages += [said, {"role": "assistant", "content": "".join(whole)}]

    def converse(self, lines: Iterable[str], write: Write) -> None:
        """Answer each line, with all that was said before it."""
        for line in lines:
            if line.strip():
                self.answer(line, write)


def newest_chat(client: Client) -> str:
    """The id of the chat in which something happened last. Raises StartupError when there is none."""
    found = client.ask("GET", "/chats?sort=-updated_at&page_size=1")["data"]
    if not found:
        raise StartupError("There is no chat to go on with: begin one with --store.")
    return str(found[0]["id"])


def _harmless(text: str) -> str:
    """What a model writes must not move the cursor or name the window."""
    return "".join(letter if letter in "\n\t" or letter.isprintable() else "�" for letter in text)
