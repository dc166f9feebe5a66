"""`secureai chat`: talk to a model or an assistant of the running server."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from secureai_appliance.client import Client, server_url
from secureai_appliance.command_parts import boot_options
from secureai_appliance.core.errors import EXIT_USAGE, StartupError
from secureai_appliance.settings import Settings
from secureai_appliance.terminal_chat import Conversation, newest_chat


@click.command()
@boot_options("data", "host", "port")
@click.option("--key", envvar="SECUREAI_KEY", help="API key for the running server. [SECUREAI_KEY]")
@click.option("--model", default=None, help="A model's id or alias.  [default: default]")
@click.option("--assistant", default=None, help="An assistant's id, slug or name.")
@click.option("--store", is_flag=True, help="Keep the conversation as a chat; its id is printed at the end.")
@click.option("--chat", "chat_id", default=None, help="Go on with this chat.")
@click.option("--continue", "newest", is_flag=True, help="Go on with the newest chat.")
@click.option("--kb", "bases", multiple=True, help="A knowledge base to answer from (id or slug); may be repeated.")
@click.option("--url", default=None, help="Address of the server. Default: http://HOST:PORT.")
def chat(
    chosen: Settings,
    *,
    key: str | None,
    model: str | None,
    assistant: str | None,
    store: bool,
    chat_id: str | None,
    newest: bool,
    bases: tuple[str, ...],
    url: str | None,
) -> None:
    """Talk to a model or an assistant of the running server; one line is one message, Ctrl-D ends it."""
    if chat_id and newest:
        raise StartupError("Give either --chat or --continue, not both.", EXIT_USAGE)
    client = Client(url or server_url(chosen), key)
    if newest:
        chat_id = newest_chat(client)
    if chat_id:
        conversation = Conversation.of_chat(client, chat_id, model=model, assistant=assistant)
    else:
        conversation = Conversation(client, model=model, assistant=assistant, store=store)
    conversation.bases = bases
    lines = _typed() if sys.stdin.isatty() else iter([sys.stdin.read()])
    conversation.converse(lines, lambda text: click.echo(text, nl=False))
    if conversation.chat_id and not chat_id:
        click.echo(f"Go on with: secureai chat --chat {conversation.chat_id}", err=True)


def _typed() -> Iterator[str]:
    """Lines as they are typed, until Ctrl-D."""
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
