"""Completions that are kept in a chat.

What the user said commits before the first byte of the answer; the answer commits before the client is told that it has
ended. Between the two nothing is held but a note in memory that this chat is being answered, and its trace in the file:
a chat that the file calls running and memory does not was interrupted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import chat_messages, chats, messages, quotes
from secureai_appliance.conversations.answers import (
    ChatCompletion,
    Chunk,
    Citation,
    Gathered,
    Retrieved,
    ToolCall,
    Usage,
)
from secureai_appliance.conversations.chat_messages import MOST_MESSAGES, ChatMessage, MessageEnd, NewMessage
from secureai_appliance.conversations.messages import ChatRequest, Message
from secureai_appliance.conversations.running import Comment
from secureai_appliance.core import text_terms
from secureai_appliance.core.clock import Clock, SystemClock
from secureai_appliance.core.errors import Conflict, InternalError, ServiceUnavailable, ValidationError
from secureai_appliance.governance import audit, events
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.store import Store, Transaction

log = logging.getLogger(__name__)

# so much of an answer a kill may take along: each of these is a commit, and most answers have ended by then
_SECONDS_BETWEEN_NOTES = 2.0
_COMPLETE = frozenset({"stop", "length", "tool_calls"})
_FOUND_BY = frozenset({"user", "assistant", "tool"})  # instructions are the same in many chats


class Started(NamedTuple):
    """A completion that the model has taken."""

    id: str
    model: str
    assistant_id: str | None = None


class Completing(Protocol):
    """A chat completion under way, here or at another server."""

    id: str
    model: str

    @property
    def usage(self) -> Usage | None: ...

    @property
    def unfinished(self) -> Gathered: ...

    def begin(self) -> bool: ...

    def next(self, timeout: float) -> Chunk | Comment | None: ...

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion: ...

    def close(self) -> None: ...


class Turns:
    """Which chats are being answered. One per appliance; safe to use from any thread."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self.store = store
        self.clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._active: set[str] = set()

    def join(self, caller: Caller, request: ChatRequest, *, keep: bool) -> Turn | Unkept:
        """What becomes of the answer to the request: a turn of its chat, or nothing is kept. To be closed.

        `keep`: what counts where the request does not say. Raises NotFound for a chat that is not the caller's,
        Conflict while another turn of it is under way, PermissionDenied, and what is wrong with the messages.
        """
        if request.chat_id is None and not (keep if request.store is None else request.store):
            return Unkept(self.store, caller, request)
        if request.chat_id is not None or request.store:
            caller.require("chats:write")
        if request.n not in (None, 1):
            raise ValidationError("In a chat there is one answer: 'n' must be 1.", field="n", constraint="maximum")
        # by their own places: behind the history they would have others
        said = _said(request.messages)
        if request.chat_id is None:
            return Turn(self, caller, request, said)
        with self.store.read() as db:
            chats.get(db, caller.user_id, request.chat_id)
        self.enter(request.chat_id)
        try:
            with self.store.read() as db:
                # what tools found in documents is told to the model again, and only what may still be read
                history = chats.whole(db, caller.user_id, request.chat_id, caller).messages
            return Turn(self, caller, _continued(request, history), said, request.chat_id)
        except BaseException:
            self.leave(request.chat_id)
            raise

    def enter(self, chat_id: str) -> None:
        """The chat is being answered. Raises Conflict when it is already."""
        with self._lock:
            if chat_id in self._active:
                raise Conflict("This chat is being answered: wait until that answer has ended.", constraint="busy")
            self._active.add(chat_id)

    def leave(self, chat_id: str) -> None:
        """It is no longer."""
        with self._lock:
            self._active.discard(chat_id)


class Turn:
    """What one request adds to a chat."""

    def __init__(
        self,
        turns: Turns,
        caller: Caller,
        request: ChatRequest,
        said: list[NewMessage],
        chat_id: str | None = None,
    ) -> None:
        """`request` has all messages, `said` the new ones; without `chat_id` a chat is made."""
        self.request = request
        self.chat_id = chat_id
        self._turns = turns
        self._caller = caller
        self._said = said
        self._completion = Started("", "")
        self._note_at = 0.0

    def begin(self, completion: Started) -> None:
        """Write what was said, and the chat if it is new. Raises NotFound when the chat was deleted meanwhile."""
        self._completion = completion
        with self._turns.store.transaction() as tx:
            # a model may have taken minutes to be read
            users.require_active(tx, self._caller.user_id)
            chat_id = self.chat_id or self._new(tx)
            chats.get(tx, self._caller.user_id, chat_id)
            place = chats.place(tx, chat_id)
            stale, title_by = tx.all("SELECT running, title_by FROM chats WHERE row_id = ?", place)[0]
            if stale is not None:
                interrupted(tx, chat_id, stale)
            chat_messages.add(tx, place, self._said)
            tx.run(
                "UPDATE chats SET running = ?, model = ?,"
                " assistant_id = COALESCE((SELECT id FROM assistants WHERE id = ?), assistant_id) WHERE row_id = ?",
                *(completion.id, completion.model, completion.assistant_id, place),
            )
            # a new one was made with its title
            if title_by == "nobody" and (title := _title(self._said)):
                chats.write_title(tx, chat_id, title, "first words")
            if self.chat_id is not None:
                details: audit.Details = {"completion_id": completion.id, "messages": len(self._said)}
                audit.record(tx, self._caller.actor, "chat.continued", "chat", chat_id, details=details)
        if self.chat_id is None:
            self._turns.enter(chat_id)
        self.chat_id = chat_id
        self._note_at = self._turns.clock.monotonic() + _SECONDS_BETWEEN_NOTES

    def note(self, answer: Gathered, citations: Callable[[], list[Citation] | None]) -> None:
        """Keep what has been said so far, now and then: after a kill it is all that there is of the answer."""
        now = self._turns.clock.monotonic()
        if now < self._note_at:
            return
        self._note_at = now + _SECONDS_BETWEEN_NOTES
        try:
            with self._turns.store.transaction() as tx:
                tx.run(
                    "INSERT INTO unfinished_answers (chat, content, citations)"
                    " SELECT row_id, ?, ? FROM chats WHERE id = ? AND running = ?"
                    " ON CONFLICT (chat) DO UPDATE SET content = excluded.content, citations = excluded.citations",
                    *(answer.text, msgspec.json.encode(citations()).decode(), self.chat_id, self._completion.id),
                )
        except ServiceUnavailable as failure:
            log.warning("what was said so far could not be kept: %s", failure.message)

    def finish(
        self,
        answer: Gathered,
        reason: MessageEnd,
        usage: Usage | None,
        steps: Sequence[Message] = (),
        citations: list[Citation] | None = None,
        *,
        retrieval: Retrieved | None = None,
    ) -> None:
        """Write the answer and the steps on the way to it; nothing when the chat was deleted meanwhile."""
        message = NewMessage(
            role="assistant",
            content=answer.content,
            tool_calls=answer.tool_calls or None,
            citations=citations,
            retrieval=retrieval,
            usage=usage,
            finish_reason=reason,
            completion_id=self._completion.id,
            terms=text_terms.indexed(answer.text),
        )
        told = _steps(steps, citations or [])
        with self._turns.store.transaction() as tx:
            place = tx.value("SELECT row_id FROM chats WHERE id = ? AND running = ?", self.chat_id, self._completion.id)
            if place is not None:
                chat_messages.add(tx, place, [*told, message])
                _no_longer_running(tx, place)
                details = {"completion_id": self._completion.id, "finish_reason": reason}
                audit.record(tx, self._caller.actor, "chat.completed", "chat", self.chat_id, details=details)
                if reason in _COMPLETE:
                    events.emit(tx, _completed(self._completion, self.chat_id, self._caller, reason, usage))

    def close(self) -> None:
        """The next turn may come. More than once is harmless."""
        if self.chat_id is not None:
            self._turns.leave(self.chat_id)

    def _new(self, tx: Transaction) -> str:
        title = _title(self._said)
        # it may have been deleted meanwhile, and what is not there is nothing to refer to
        assistant_id = tx.value("SELECT id FROM assistants WHERE id = ?", self._completion.assistant_id)
        chat = chats.insert(
            tx,
            self._caller,
            model=self._completion.model,
            title=title,
            by="first words" if title else "nobody",
            metadata=self.request.metadata or {},
            assistant_id=assistant_id,
        )
        return chat.id


class Unkept:
    """Of a completion that is kept nowhere: who wants to hear of complete answers is told."""

    chat_id = None

    def __init__(self, store: Store, caller: Caller, request: ChatRequest) -> None:
        self.request = request
        self._store = store
        self._caller = caller
        self._completion = Started("", "")

    def begin(self, completion: Started) -> None:
        """Remember which one it is."""
        self._completion = completion

    def note(self, _: Gathered, __: Callable[[], list[Citation] | None]) -> None:
        """Nothing is kept."""

    def finish(
        self,
        _: Gathered,
        reason: MessageEnd,
        usage: Usage | None,
        __: Sequence[Message] = (),
        ___: list[Citation] | None = None,
        *,
        retrieval: Retrieved | None = None,
    ) -> None:
        """Tell of it. That this can't be stored is no reason to refuse the answer."""
        if reason in _COMPLETE:
            try:
                events.announce(self._store, _completed(self._completion, None, self._caller, reason, usage))
            except ServiceUnavailable as failure:
                log.warning("nobody could be told of an answer: %s", failure.message)

    def close(self) -> None:
        """Nothing is held."""


def sweep(tx: Transaction) -> None:
    """Note which turns were interrupted; at start, before anything is answered."""
    for chat_id, completion_id in tx.all("SELECT id, running FROM chats WHERE running IS NOT NULL"):
        interrupted(tx, chat_id, completion_id)


def interrupted(tx: Transaction, chat_id: str, completion_id: str) -> None:
    """Note that the answer that a chat waits for will not come, with what had been said of it."""
    place = chats.place(tx, chat_id)
    said = tx.one("SELECT content, citations FROM unfinished_answers WHERE chat = ?", place)
    content, citations = said or ("", "null")
    lost = NewMessage(
        role="assistant",
        content=content,
        citations=msgspec.json.decode(citations, type=list[Citation] | None),
        finish_reason="interrupted",
        completion_id=completion_id,
        terms=text_terms.indexed(content),
    )
    chat_messages.add(tx, place, [lost])
    _no_longer_running(tx, place)
    audit.record(tx, SYSTEM, "chat.interrupted", "chat", chat_id, details={"completion_id": completion_id})


def _no_longer_running(tx: Transaction, place: int) -> None:
    tx.run("UPDATE chats SET running = NULL WHERE row_id = ?", place)
    tx.run("DELETE FROM unfinished_answers WHERE chat = ?", place)


def _said(given: list[Message]) -> list[NewMessage]:
    """The messages of a request as a chat keeps them. Raises what `messages.for_template` does."""
    made = []
    for message, shown in zip(given, messages.for_template(given), strict=True):
        if message.role == "function":
            raise InternalError("A message of a role that is not supported was let through.")
        text: str = shown["content"]
        calls = [msgspec.convert(msgspec.to_builtins(call), ToolCall) for call in message.tool_calls or ()]
        made.append(
            NewMessage(
                role=message.role,
                content=None if calls and not text else text,
                name=message.name,
                tool_calls=calls or None,
                tool_call_id=message.tool_call_id,
                terms=text_terms.indexed(text) if message.role in _FOUND_BY else "",
            )
        )
    return made


def _continued(request: ChatRequest, history: list[ChatMessage]) -> ChatRequest:
    """The request with what was said before. Answers of which nothing came are left out."""
    before = [
        Message(
            role=message.role,
            content=message.content,
            name=message.name,
            tool_calls=None
            if not message.tool_calls
            else msgspec.convert(msgspec.to_builtins(message.tool_calls), list[messages.CalledTool]),
            tool_call_id=message.tool_call_id,
        )
        for message in history
        if message.content or message.tool_calls or message.role != "assistant"
    ]
    if len(before) + len(request.messages) > MOST_MESSAGES:
        raise Conflict(f"A chat has at most {MOST_MESSAGES:,} messages: begin another.", constraint="max_items")
    return msgspec.structs.replace(request, messages=[*before, *request.messages])


def _steps(steps: Sequence[Message], citations: Sequence[Citation]) -> list[NewMessage]:
    """What was called and what tools said, with the sources that stand in that."""
    made = _said(_complete(steps))
    for step in made:
        if step.role == "tool" and step.content:
            step.citations = quotes.told_in(step.content, citations) or None
    return made


def _complete(steps: Sequence[Message]) -> list[Message]:
    """Without a last round of which not every call has its result: a model could not go on from there."""
    made = list(steps)
    last = max((at for at, step in enumerate(made) if step.tool_calls), default=0)
    called = made[last].tool_calls if made else None
    return made[:last] if called and len(made) - last - 1 < len(called) else made


def _title(said: list[NewMessage]) -> str:
    return chats.first_words(next((message.content or "" for message in said if message.role == "user"), ""))


def _completed(
    completion: Started, chat_id: str | None, caller: Caller, reason: MessageEnd, usage: Usage | None
) -> events.ChatCompleted:
    return events.ChatCompleted(
        completion_id=completion.id,
        chat_id=chat_id,
        user_id=caller.user_id,
        model=completion.model,
        finish_reason=reason,
        usage=events.TokensUsed(
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            total_tokens=usage.total_tokens if usage else 0,
        ),
    )
