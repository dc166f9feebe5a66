"""Titles of chats by the model that answered, made while it has nothing else to do; first words stand in until then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from secureai_appliance.accounts import users
from secureai_appliance.conversations import chat_messages, chats, completions
from secureai_appliance.conversations.answers import Chunk, Gathered
from secureai_appliance.conversations.completions import Completion
from secureai_appliance.conversations.messages import ChatRequest, Message
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import Failure, ServiceUnavailable
from secureai_appliance.core.lines import may_stand
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.inference.engine import Engine
from secureai_appliance.models import catalogue
from secureai_appliance.models.registry import Models
from secureai_appliance.store import Reader, Store

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
LONGEST = 80
_LOOKED_AT = 100  # of the newest: who has had first words for long keeps them
_MOST_TOKENS = 24
_QUOTED_QUESTION, _QUOTED_ANSWER = 1000, 500  # characters
_INSTRUCTION = "You name conversations. Answer with a short title of two to six words and nothing else."


class _Wanted(NamedTuple):
    """A chat that has no title yet, and what its title is made of."""

    chat_id: str
    user_id: str
    model: str
    question: str
    answer: str


class _UnderWay(NamedTuple):
    """A title that is being made."""

    chat_id: str
    completion: Completion
    gathered: Gathered
    held: ExitStack


class Titles:
    """Makes one title after the other, a step at a time; a step never waits for the model."""

    def __init__(self, store: Store, clock: Clock, models: Models, enabled: Callable[[], bool]) -> None:
        self._store = store
        self._clock = clock
        self._models = models
        self._enabled = enabled
        self._under_way: _UnderWay | None = None

    def step(self) -> None:
        """Go on with the title that is being made, or begin the next when a model is idle."""
        if self._under_way is not None:
            self._go_on(self._under_way)
        elif self._enabled() and (idle := self._idle()):
            with self._store.read() as db:
                wanted = _next(db, idle)
            if wanted is not None:
                self._begin(wanted)

    def _idle(self) -> list[str]:
        """Models that are in memory and do nothing: none is loaded for a title."""
        found = []
        for name, loaded in self._models.in_memory().items():
            if isinstance(loaded, Engine) and not loaded.failed:
                state = loaded.queue()
                if state.running + state.waiting == 0:
                    found.append(name)
        return found

    def _begin(self, wanted: _Wanted) -> None:
        with ExitStack() as held:
            try:
                with self._store.read() as db:
                    row, caller = catalogue.find(db, wanted.model), users.caller_of(db, wanted.user_id)
                held.enter_context(self._models.held(row))
                completion = completions.start(self._models, row, caller, _request(wanted), self._clock)
                held.callback(completion.close)
                if completion.begin(0.0):
                    self._under_way = _UnderWay(wanted.chat_id, completion, Gathered(), held.pop_all())
            except ServiceUnavailable:
                return  # it is no longer idle
            except Failure as failure:
                log.info("the chat %s keeps its first words: %s", wanted.chat_id, failure.message)
                self._write(wanted.chat_id, "")

    def _go_on(self, made: _UnderWay) -> None:
        try:
            while (item := made.completion.next(0.0)) is not None:
                if isinstance(item, Chunk):
                    for choice in item.choices:
                        made.gathered.add(choice.delta)
            return
        except StopIteration:
            title = clean(made.gathered.text)
        except Failure as failure:
            log.info("the chat %s keeps its first words: %s", made.chat_id, failure.message)
            title = ""
        self._under_way = None
        made.held.close()
        self._write(made.chat_id, title)

    def _write(self, chat_id: str, title: str) -> None:
        """Without a title the first words stay, and it is not tried again."""
        with self._store.transaction() as tx:
            words = tx.value("SELECT title FROM chats WHERE id = ? AND title_by = 'first words'", chat_id)
            if words is not None:
                chats.write_title(tx, chat_id, title or words, "model")
                audit.record(tx, SYSTEM, "chat.titled", "chat", chat_id)


def clean(text: str) -> str:
    """A title as a model writes it, without what models put around it; '' when nothing is left."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = "".join(letter for letter in line if may_stand(letter)).strip()
    line = line.removeprefix("Title:").strip(" \t\"'“”„«»*#`.:-")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def _next(db: Reader, models: list[str]) -> _Wanted | None:
    """The newest chat with first words whose model is one of these."""
    row = db.one(
        "SELECT row_id, id, user_id, model FROM (SELECT row_id, id, user_id, model, running, message_count FROM chats"
        " WHERE title_by = 'first words' ORDER BY row_id DESC LIMIT ?)"
        " WHERE running IS NULL AND message_count > 1 AND model IN (SELECT value FROM json_each(?)) LIMIT 1",
        *(_LOOKED_AT, msgspec.json.encode(models).decode()),
    )
    if row is None:
        return None
    place, chat_id, user_id, model = row
    said = {message.role: message.content or "" for message in reversed(chat_messages.after(db, place, 0, 8))}
    question, answer = said.get("user", ""), said.get("assistant", "")
    return _Wanted(chat_id, user_id, model, question[:_QUOTED_QUESTION], answer[:_QUOTED_ANSWER])


def _request(wanted: _Wanted) -> ChatRequest:
    return ChatRequest(
        model=wanted.model,
        messages=[
            Message(role="system", content=_INSTRUCTION),
            Message(role="user", content=f"User: {wanted.question}\nAssistant: {wanted.answer}\n\nThe title:"),
        ],
        max_tokens=_MOST_TOKENS,
        temperature=0.0,
        service_tier="flex",
    )
