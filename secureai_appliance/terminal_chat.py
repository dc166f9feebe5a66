"""`secureai chat`: a conversation in the terminal, over HTTP, the quickest way to try a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from secureai_appliance.client import Client

Message = dict[str, str]


def answer(client: Client, model: str, messages: list[Message], write: Callable[[str], None]) -> str:
    """Stream the answer to `messages` through `write`, piece by piece; the whole of it. Raises StartupError."""
    whole: list[str] = []
    body = {"model": model, "messages": messages, "stream": True}
    for chunk in client.stream("/chat/completions", body):
        for choice in chunk.get("choices", []):
            if text := choice["delta"].get("content"):
                whole.append(text)
                write(_harmless(text))
    write("\n")
    return "".join(whole)


def converse(client: Client, model: str, lines: Iterable[str], write: Callable[[str], None]) -> None:
    """Answer each line, with all that was said before it."""
    messages: list[Message] = []
    for line in lines:
        if line.strip():
            messages.append({"role": "user", "content": line})
            messages.append({"role": "assistant", "content": answer(client, model, messages, write)})


def _harmless(text: str) -> str:
    """What a model writes must not move the cursor or name the window."""
    return "".join(letter if letter in "\n\t" or letter.isprintable() else "�" for letter in text)
