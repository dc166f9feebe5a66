"""Chats: conversations that are kept. Each belongs to the user whose it is, and nobody else knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import chat_messages, chat_search, quotes
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.conversations.chat_search import Snippet
from secureai_appliance.conversations.messages import Metadata
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound, UnprocessableEntity, ValidationError
from secureai_appliance.core.ids import new_id
from secureai_appliance.core.lines import is_line, may_stand
from secureai_appliance.governance import audit, events
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.ownership import Owned
from secureai_appliance.models import catalogue
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

OWNED = (Owned("chats", "user_id", "transfer"),)

LONGEST_TITLE = 200
MOST_BYTES_OF_MESSAGES = 64 * 1024 * 1024
"""Of one page of a list with its messages."""
_RETAINED_AT_ONCE = 100
_FIRST_WORDS = 60

Title = Annotated[str, Meta(min_length=1, max_length=LONGEST_TITLE)]
Tag = Annotated[str, Meta(min_length=1, max_length=50)]
Tags = Annotated[list[Tag], Meta(max_length=32)]
TitleBy = Literal["nobody", "first words", "model", "user"]


class ChatCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new chat without messages. Without a title it gets one with its first message."""

    title: Title | None = None
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    tags: Tags = []
    metadata: Metadata = {}


class ChatPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a chat; what is left out stays, `metadata` and `tags` are replaced as a whole."""

    title: Title | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    archived: bool | UnsetType = UNSET


class Chat(msgspec.Struct, kw_only=True):
    """A conversation. `model` is the one that answered last, null before the first answer of a chat that names none.

    `assistant_id`: the one that was asked last, null where none ever was.
    """

    id: str
    user_id: str
    title: str
    model: str | None
    assistant_id: str | None
    archived: bool
    tags: list[str]
    metadata: dict[str, str]
    message_count: int
    created_at: str
    updated_at: str


C = TypeVar("C", bound=Chat)


class ListedChat(Chat, kw_only=True):
    """A chat in a list: with `q` the places where it was found, with `include=messages` all that was said."""

    snippets: list[Snippet] | UnsetType = UNSET
    messages: list[ChatMessage] | UnsetType = UNSET


class WholeChat(Chat, kw_only=True):
    """A chat and all that was said in it, oldest first."""

    messages: list[ChatMessage]


class OthersQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """For administrators: whose chats they read, and why. It is noted in the audit log."""

    user_id: Annotated[str, Meta(max_length=200, description="For administrators: another user's id.")] | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Why they read it.")] | None = None


class ChatQuery(ListQuery, kw_only=True):
    """`q` looks into titles and messages. Archived chats are left out unless asked for, or a range of time is given."""

    archived: Literal["true", "false", "all"] | None = None
    assistant_id: Annotated[str, Meta(max_length=200)] | None = None
    tag: Annotated[str, Meta(max_length=50)] | None = None
    include: Annotated[Literal["messages"], Meta(description="With all messages of each chat.")] | None = None
    user_id: (
        Annotated[str, Meta(max_length=200, description="For administrators: another user's id, or `all`.")] | None
    ) = None
    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Why they read it.")] | None = None


def create(tx: Transaction, caller: Caller, body: ChatCreate) -> Chat:
    """Make a chat. Raises ValidationError, and UnprocessableEntity for a model that there is not."""
    _check(body.title, body.tags)
    if body.model is not None:
        _require_model(tx, body.model)
    by: TitleBy = "nobody" if body.title is None else "user"
    return insert(tx, caller, model=body.model, title=body.title or "", by=by, tags=body.tags, metadata=body.metadata)


def insert(
    tx: Transaction,
    caller: Caller,
    *,
    model: str | None,
    title: str,
    by: TitleBy,
    tags: list[str] | None = None,
    metadata: dict[str, str] | None = None,
    assistant_id: str | None = None,
) -> Chat:
    """Write a new chat with its audit row and its event."""
    chat_id, now = new_id("chat"), tx.now()
    tx.run(
        "INSERT INTO chats (id, user_id, title, title_by, model, assistant_id, tags, metadata, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(chat_id, caller.user_id, title, by, model, assistant_id),
        *(_json(list(dict.fromkeys(tags or []))), _json(metadata or {}), now, now),
    )
    if title:
        chat_search.index_title(tx, place(tx, chat_id), title)
    audit.record(tx, caller.actor, "chat.created", "chat", chat_id)
    chat = get(tx, caller.user_id, chat_id)
    told = events.ChatCreated(
        chat_id=chat_id, user_id=chat.user_id, title=chat.title, assistant_id=assistant_id, model=model
    )
    events.emit(tx, told)
    return chat


def get(db: Reader, owner_id: str, chat_id: str) -> Chat:
    """One of this user's chats. Raises NotFound, also for another user's."""
    row = db.one(
        f"SELECT {_COLUMNS} FROM chats WHERE user_id = ? AND id = ?",  # noqa: S608 (constant columns)
        owner_id,
        chat_id,
    )
    if row is None:
        raise NotFound("There is no such chat.")
    return _chat(Chat, row)


def whole(db: Reader, owner_id: str, chat_id: str, reader: Caller | None = None) -> WholeChat:
    """A chat of this owner's with its messages, as `reader` may see them; None: with nothing of documents.

    Raises NotFound.
    """
    chat = get(db, owner_id, chat_id)
    messages = chat_messages.all_of(db, place(db, chat_id))
    quotes.show(db, reader, messages)
    return WholeChat(**msgspec.structs.asdict(chat), messages=messages)


def place(db: Reader, chat_id: str) -> int:
    """The row_id of a chat that is there."""
    return int(db.value("SELECT row_id FROM chats WHERE id = ?", chat_id))


def list_(db: Reader, query: ChatQuery, owner_id: str | None, reader: Caller | None = None) -> Page[ListedChat]:
    """A page of this owner's chats, of everybody's with None, as `reader` may see them. Raises ValidationError."""
    terms: list[str] = []
    params: list[Any] = []
    if owner_id is not None:
        terms.append("user_id = ?")
        params.append(owner_id)
    # a range of time is an export: complete unless it says otherwise
    by_time = query.created_after is not None or query.created_before is not None
    archived = query.archived or ("all" if by_time else "false")
    if archived != "all":
        terms.append("archived = ?")
        params.append(archived == "true")
    if query.assistant_id is not None:
        terms.append("assistant_id = ?")
        params.append(query.assistant_id)
    if query.tag is not None:
        terms.append("tags <> '[]' AND EXISTS (SELECT 1 FROM json_each(chats.tags) WHERE value = ?)")
        params.append(query.tag)
    found = chat_search.find(db, query.q, " AND ".join(terms), tuple(params)) if query.q else {}
    if query.q:
        terms.append("row_id IN (SELECT value FROM json_each(?))")
        params.append(_json(list(found)))
    plain = msgspec.structs.replace(query, q=None)
    page = list_page(db, _LIST, plain, where=" AND ".join(terms), params=tuple(params))
    places = {chat.id: place(db, chat.id) for chat in page.data} if query.q or query.include else {}
    if query.include:
        _add_messages(db, page.data, places, reader)
    if query.q:
        _add_snippets(db, page.data, {chat: found[at] for chat, at in places.items()}, query.q, reader)
    return page


def _add_messages(db: Reader, page: Sequence[ListedChat], places: Mapping[str, int], reader: Caller | None) -> None:
    if len(places) > 1 and chat_messages.size(db, list(places.values())) > MOST_BYTES_OF_MESSAGES:
        raise ValidationError(
            f"The messages of this page have more than {MOST_BYTES_OF_MESSAGES >> 20} MB: ask for smaller pages.",
            field="page_size",
            constraint="maximum",
        )
    said = {chat.id: chat_messages.all_of(db, places[chat.id]) for chat in page}
    quotes.show(db, reader, chain.from_iterable(said.values()))
    for chat in page:
        chat.messages = said[chat.id]


def _add_snippets(
    db: Reader, page: Sequence[ListedChat], found: Mapping[str, list[int]], q: str, reader: Caller | None
) -> None:
    said = chat_messages.at(db, chain.from_iterable(found.values()))
    # what may not be read in a message is not shown of it here
    quotes.show(db, reader, said.values())
    texts = {at: (message.id, message.content or "") for at, message in said.items()}
    for chat in page:
        chat.snippets = chat_search.snippets([texts.get(at) for at in found[chat.id]], chat.title, q)


def patch(tx: Transaction, caller: Caller, chat_id: str, body: ChatPatch) -> Chat:
    """Change a chat of the caller's. Raises NotFound, ValidationError."""
    chat = get(tx, caller.user_id, chat_id)
    _check(body.title if body.title is not UNSET else None, body.tags if body.tags is not UNSET else [])
    if body.title is not UNSET:
        write_title(tx, chat_id, body.title, "user")
    if body.tags is not UNSET:
        tx.run("UPDATE chats SET tags = ? WHERE id = ?", _json(list(dict.fromkeys(body.tags))), chat_id)
    if body.metadata is not UNSET:
        tx.run("UPDATE chats SET metadata = ? WHERE id = ?", _json(body.metadata), chat_id)
    if body.archived is not UNSET:
        tx.run("UPDATE chats SET archived = ? WHERE id = ?", body.archived, chat_id)
    fields = [name for name in body.__struct_fields__ if getattr(body, name) is not UNSET]
    tx.run("UPDATE chats SET updated_at = ? WHERE id = ?", tx.now(), chat_id)
    audit.record(tx, caller.actor, "chat.updated", "chat", chat.id, details={"fields": fields})
    return get(tx, caller.user_id, chat_id)


def archive(tx: Transaction, caller: Caller, chat_id: str, *, archived: bool) -> Chat:
    """Put a chat away, or take it out again. As it is already: nothing changes. Raises NotFound."""
    chat = get(tx, caller.user_id, chat_id)
    if chat.archived == archived:
        return chat
    tx.run("UPDATE chats SET archived = ?, updated_at = ? WHERE id = ?", archived, tx.now(), chat_id)
    audit.record(tx, caller.actor, "chat.archived" if archived else "chat.unarchived", "chat", chat_id)
    return get(tx, caller.user_id, chat_id)


def delete(tx: Transaction, caller: Caller, chat_id: str) -> None:
    """Delete a chat of the caller's with its messages, for good. An answer under way is kept nowhere then."""
    chat = get(tx, caller.user_id, chat_id)
    tx.run("DELETE FROM chats WHERE id = ?", chat_id)
    audit.record(tx, caller.actor, "chat.deleted", "chat", chat_id, details={"messages": chat.message_count})


def retain(tx: Transaction, before: int) -> int:
    """Delete some chats in which nothing happened since `before` (Unix seconds); how many, 0 when all is done."""
    dropped = tx.run(
        "DELETE FROM chats WHERE row_id IN"
        " (SELECT row_id FROM chats WHERE updated_at < ? AND running IS NULL ORDER BY updated_at LIMIT ?)",
        *(before, _RETAINED_AT_ONCE),
    )
    if dropped:
        details: audit.Details = {"before": rfc3339(before), "chats": dropped}
        audit.record(tx, SYSTEM, "chat.retained", "chat", details=details)
    return dropped


def write_title(tx: Transaction, chat_id: str, title: str, by: TitleBy) -> None:
    """Give a chat a title."""
    tx.run("UPDATE chats SET title = ?, title_by = ? WHERE id = ?", title, by, chat_id)
    chat_search.index_title(tx, place(tx, chat_id), title)


def first_words(text: str) -> str:
    """A title made of the beginning of what was said; '' when nothing printable was."""
    words = "".join(letter if may_stand(letter) else " " for letter in text[: 20 * _FIRST_WORDS]).split()
    line = " ".join(words)
    if not is_line(line):
        return ""
    if len(line) <= _FIRST_WORDS:
        return line
    cut = line[:_FIRST_WORDS]
    # without blanks (Chinese, Japanese) a title is cut anywhere
    return f"{cut.rpartition(' ')[0] or cut}…"


def _check(title: str | None, tags: list[str]) -> None:
    if title is not None and not is_line(title):
        raise ValidationError("The 'title' field must have printable characters.", field="title", constraint="format")
    for index, tag in enumerate(tags):
        if not is_line(tag):
            raise ValidationError(
                f"The 'tags.{index}' field must have printable characters.", field=f"tags.{index}", constraint="format"
            )


def _require_model(db: Reader, name: str) -> None:
    try:
        catalogue.find(db, name)
    except NotFound as cause:
        raise UnprocessableEntity(f"There is no model '{name}'.", field="model", constraint="unknown") from cause


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _chat(kind: type[C], row: tuple[Any, ...]) -> C:
    chat_id, user_id, title, model, assistant_id, archived, tags, metadata, count, created_at, updated_at = row
    return kind(
        id=chat_id,
        user_id=user_id,
        title=title or "New chat",
        model=model,
        assistant_id=assistant_id,
        archived=bool(archived),
        tags=[] if tags == "[]" else msgspec.json.decode(tags),
        metadata={} if metadata == "{}" else msgspec.json.decode(metadata),
        message_count=count,
        created_at=rfc3339(created_at),
        updated_at=rfc3339(updated_at),
    )


_COLUMNS = "id, user_id, title, model, assistant_id, archived, tags, metadata, message_count, created_at, updated_at"
_LIST: ListSpec[ListedChat] = ListSpec(
    columns=_COLUMNS,
    source="chats",
    sortable={"created_at": "created_at", "updated_at": "updated_at", "title": "title"},
    read=lambda row: _chat(ListedChat, row),
)
