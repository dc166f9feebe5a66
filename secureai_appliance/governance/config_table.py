"""Every runtime setting: what an administrator may change while the appliance runs.

A boot option (`settings.py`) is for what must be known before the file is open; everything else stands here. The API,
the command line and the documentation are made from this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from secureai_appliance.core.network import InvalidUrl, networks, parse_url
from secureai_appliance.governance.prices import Price
from secureai_appliance.governance.tiers import Tiers


@dataclass(frozen=True)
class Setting:
    """One row. `key` is `group.name`; `type` is what msgspec checks a value against, never one that takes null.

    Where `default` is a struct, a value is an object of which the fields left out take the default's. `check` raises
    ValueError, with a sentence that goes on after "The '<key>' field", for what a type can't say. A `secret` is a
    string, stored sealed and never shown. Of `free_text` the audit log has
    no values: anything may stand there. `restart_required`: it counts from the next start on.
    """

    key: str
    type: Any
    default: Any
    description: str
    restart_required: bool = False
    secret: bool = False
    free_text: bool = False
    check: Callable[[Any], None] = lambda _: None

    @property
    def group(self) -> str:
        return self.key.partition(".")[0]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the values."""
        return msgspec.json.schema(self.type)


def _are_networks(value: Any) -> None:
    try:
        networks(value)
    except ValueError as cause:
        raise ValueError("must hold addresses or networks such as 10.0.0.0/8.") from cause


def _are_hosts(value: Any) -> None:
    for host in value:
        try:
            plain = parse_url(f"http://{host}").path == "/" and host == host.strip() and "/" not in host
        except InvalidUrl:
            plain = False
        # of a `*` an administrator would think that it lets all through, or nothing
        if not plain or any(mark in host for mark in "?#*"):
            raise ValueError("must hold hosts such as parts.example.org or 10.0.0.5:8080.")


def _are_folders(value: Any) -> None:
    for folder in value:
        if not folder.startswith("/") or "\0" in folder or ".." in folder.split("/"):
            raise ValueError("must hold absolute paths such as /srv/manuals.")


_Networks = Annotated[list[Annotated[str, Meta(max_length=50)]], Meta(max_length=1000)]

SETTINGS: tuple[Setting, ...] = (
    Setting("limits.enabled", bool, True, "Whether users have limits; they are counted either way."),
    Setting(
        "audit.retention_days",
        Annotated[int, Meta(ge=0, le=36_500)],
        0,
        "Days after which rows of the audit log are dropped; 0: never. What is left can still be verified.",
    ),
    Setting(
        "chats.retention_days",
        Annotated[int, Meta(ge=0, le=36_500)],
        0,
        "Days after which a chat is deleted in which nothing has happened; 0: never.",
    ),
    Setting(
        "chats.store_completions",
        bool,
        False,
        "Whether a completion that says nothing about it is kept in a new chat. With `store` a request decides itself.",
    ),
    Setting(
        "chats.titles_by_model",
        bool,
        True,
        "Whether a chat without a title of its user's gets one from the model that answered, when it has nothing else "
        "to do; until then, and otherwise, it has the first words.",
    ),
    Setting(
        "completions.default_max_tokens",
        Annotated[int, Meta(ge=0, le=1_000_000)],
        8192,
        "Tokens of an answer where a chat completion names no `max_tokens`; 0: until the answer or the context ends. A "
        "small model now and then goes on for ever. Remote models have bounds of their own.",
    ),
    Setting(
        "limits.failed_authentications_per_minute",
        Annotated[int, Meta(ge=0, le=1_000_000)],
        60,
        "Requests with a missing or wrong credential that one address may make in a minute before they are answered "
        "with 429; 0: any number. A valid credential is never refused by it.",
    ),
    Setting(
        "knowledge.document_tokens",
        Annotated[int, Meta(ge=100, le=1_000_000)],
        2000,
        "Tokens that a model reads of a document as a whole, for a summary or a list, where a request does not say. Of "
        "a longer one it gets the beginnings of parts from all over it. Two cores read about 200 in a second.",
    ),
    Setting(
        "knowledge.embedding_model",
        Annotated[str, Meta(min_length=1, max_length=200)],
        "text-embedding-3-small",
        "Model or alias that new knowledge bases are embedded with when they name none.",
    ),
    Setting(
        "knowledge.folder_seconds",
        Annotated[int, Meta(ge=5, le=86_400)],
        60,
        "Seconds between two looks at a folder that a knowledge base is filled from. A file counts when it looks the "
        "same twice.",
    ),
    Setting(
        "knowledge.folders",
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=4000)]], Meta(max_length=100)],
        [],
        "Folders of the server (absolute paths) from which, and from below which, knowledge bases may be filled.",
        check=_are_folders,
    ),
    Setting(
        "knowledge.min_score",
        Annotated[float, Meta(ge=0, le=1)],
        0.4,
        "How relevant a passage has to be to answer from, where a request does not say; below, the answer is that the "
        "documents do not say it. Higher: fewer answers from what has little to do with the question, and more "
        "questions unanswered.",
    ),
    Setting(
        "knowledge.not_found_text",
        Annotated[str, Meta(min_length=1, max_length=1000)],
        "I found nothing about this in the documents.",
        "What is answered when nothing in the documents is relevant to a question.",
        free_text=True,
    ),
    Setting(
        "knowledge.rerank_model",
        Annotated[str, Meta(max_length=200)],
        "",
        "Rerank model or alias that reads the first passages of each search once more and puts them into order; empty: "
        "none. Better orders, for a time that grows with the model and with `knowledge.rerank_passages`.",
    ),
    Setting(
        "knowledge.rerank_min_score",
        Annotated[float, Meta(ge=0, le=1)],
        0.0,
        "How well a passage has to answer a question by the rerank model, in place of `knowledge.min_score`, to answer "
        "from it; 0: `knowledge.min_score` decides. What a good bound is depends on the model.",
    ),
    Setting(
        "knowledge.rerank_passages",
        Annotated[int, Meta(ge=2, le=100)],
        20,
        "Passages that the rerank model reads for a search; as many as are asked for at least.",
    ),
    Setting(
        "knowledge.rerank_seconds",
        Annotated[int, Meta(ge=1, le=3600)],
        60,
        "Seconds after which a search, and an answer from documents, goes on without the rerank model.",
    ),
    Setting(
        "knowledge.trace_days",
        Annotated[int, Meta(ge=1, le=3650)],
        30,
        "Days after which it is forgotten how the passages of an answer were found.",
    ),
    Setting("limits.tiers", Tiers, Tiers(), "How much each tier allows; null: no limit."),
    Setting(
        "maintenance.enabled",
        bool,
        False,
        "Whether everybody but administrators is answered with 503.",
    ),
    Setting(
        "maintenance.message",
        Annotated[str, Meta(max_length=500)],
        "",
        "What they are told; empty: that the appliance is in maintenance.",
        free_text=True,
    ),
    Setting(
        "maintenance.retry_after",
        Annotated[int, Meta(ge=1, le=86_400)],
        300,
        "Seconds after which they are asked to try again.",
    ),
    Setting(
        "oauth.allow_insecure_http",
        bool,
        False,
        "Let OAuth work, and lead back to programs, over http beyond this machine: tokens cross the network in the "
        "clear, so on a trusted one only.",
    ),
    Setting(
        "outbound.private",
        bool,
        True,
        "Whether the servers that the appliance asks (remote models, webhooks) may have private and loopback "
        "addresses.",
    ),
    Setting(
        "outbound.allow",
        _Networks,
        [],
        "Addresses and networks that may be dialled although other settings forbid them.",
        check=_are_networks,
    ),
    Setting(
        "outbound.deny",
        _Networks,
        [],
        "Addresses and networks that are not dialled.",
        check=_are_networks,
    ),
    Setting(
        "sessions.hours",
        Annotated[int, Meta(ge=1, le=720)],
        12,
        "Hours after which whoever signed in to the pages has to sign in again.",
    ),
    Setting(
        "sessions.idle_minutes",
        Annotated[int, Meta(ge=2, le=43_200)],
        60,
        "Minutes without a request after which they have to as well.",
    ),
    Setting(
        "tools.allowed_hosts",
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=260)]], Meta(max_length=1000)],
        [],
        "Hosts that tools may call, with or without a port: `parts.example.org`, `10.0.0.5:8080`. No others, and never "
        "the appliance itself; `outbound.*` counts for them too.",
        check=_are_hosts,
    ),
    Setting(
        "tools.max_result_chars",
        Annotated[int, Meta(ge=100, le=200_000)],
        16_000,
        "Characters of what a tool says that reach the model; what is beyond is cut, and so is what would fill more "
        "than a quarter of its context.",
    ),
    Setting(
        "tools.max_rounds",
        Annotated[int, Meta(ge=1, le=20)],
        5,
        "How often a model may call tools before it has to answer.",
    ),
    Setting(
        "tools.max_seconds",
        Annotated[int, Meta(ge=1, le=600)],
        120,
        "Seconds after which no tool is called any more for an answer.",
    ),
    Setting(
        "uploads.max_bytes",
        Annotated[int, Meta(ge=1, le=2**50)],
        64 * 2**30,
        "Bytes that a file may have that comes in parts. Less when the disk has no room for it.",
    ),
    Setting(
        "uploads.max_document_bytes",
        Annotated[int, Meta(ge=1, le=2**40)],
        2 * 2**30,
        "Bytes that a document may have that comes in parts or from a watched folder, and any upload of who may not "
        "import models.",
    ),
    Setting(
        "uploads.open_per_user",
        Annotated[int, Meta(ge=0, le=1000)],
        8,
        "Uploads that one user may have at a time, complete ones among them; 0: nobody uploads anything.",
    ),
    Setting(
        "usage.days_kept",
        Annotated[int, Meta(ge=1, le=36_500)],
        1095,
        "Days after which the usage of a day is forgotten.",
    ),
    Setting(
        "usage.hours_kept",
        Annotated[int, Meta(ge=1, le=36_500)],
        90,
        "Days after which the usage of an hour is forgotten; that of its day stays.",
    ),
    Setting(
        "usage.prices",
        dict[Annotated[str, Meta(min_length=1, max_length=200)], Price],
        {},
        'What 1,000 tokens cost by the model\'s id, `*` for all others: `{"*": {"prompt": 0.1, "completion": 0.3}}`.',
    ),
    Setting(
        "webhooks.days_kept",
        Annotated[int, Meta(ge=1, le=3650)],
        30,
        "Days after which events and their deliveries to webhooks are forgotten, also those that were never delivered.",
    ),
)
