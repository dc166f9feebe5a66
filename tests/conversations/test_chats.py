"""What becomes of chats: when the appliance ends in between, when their user goes, when they are old."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.appliance import OWNERSHIP
from secureai_appliance.conversations import chat_messages, chat_search, chats, turns
from secureai_appliance.conversations.answering import Answering
from secureai_appliance.conversations.answers import ChatCompletion, Chunk, ChunkChoice, Delta, Gathered
from secureai_appliance.conversations.chats import ChatCreate, ChatQuery
from secureai_appliance.conversations.messages import ChatRequest, Message
from secureai_appliance.conversations.turns import Started, Turn, Turns
from secureai_appliance.core.errors import AuthenticationError, Conflict
from secureai_appliance.store import Store
from tests.support.audit import newest, rows
from tests.support.clock import FakeClock

DAY = 24 * 3600


@pytest.fixture
def ann(store: Store) -> Caller:
    with store.transaction() as tx:
        return users.caller_of(tx, users.create(tx, email="ann@example.org", name="Ann", role="user").id)


def said(text: str, chat_id: str | None = None) -> ChatRequest:
    return ChatRequest(model="m", messages=[Message(role="user", content=text)], chat_id=chat_id, store=True)


def begin(store: Store, ann: Caller, text: str, chat_id: str | None = None) -> Turn:
    """A turn that is under way, and of which this process will hear nothing more."""
    turn = Turns(store).join(ann, said(text, chat_id), keep=False)
    assert isinstance(turn, Turn)
    turn.begin(Started(f"resp-{text}", "m"))
    return turn


def ends(store: Store, ann: Caller, chat_id: str | None) -> list[tuple[str | None, str | None]]:
    with store.read() as db:
        return [
            (message.content, message.finish_reason) for message in chats.whole(db, ann.user_id, chat_id or "").messages
        ]


def test_a_turn_that_a_start_finds_unfinished_is_interrupted(store: Store, ann: Caller) -> None:
    chat_id = begin(store, ann, "one").chat_id
    before = newest(store)
    for _ in range(2):
        with store.transaction() as tx:
            turns.sweep(tx)
    assert ends(store, ann, chat_id) == [("one", None), ("", "interrupted")]
    with store.read() as db:
        assert [(row.action, row.target.id) for row in rows(db, before)] == [("chat.interrupted", chat_id)]


def streamed(store: Store, ann: Caller, clock: FakeClock, *pieces: str) -> Turn:
    """A turn of which so much was said, a second apart each, and of which this process will hear nothing more."""
    turn = Turns(store, clock).join(ann, said("one"), keep=False)
    assert isinstance(turn, Turn)
    turn.begin(Started("resp-one", "m"))
    answer = Gathered()
    for piece in pieces:
        clock.advance(1)
        answer.add(Delta(content=piece))
        turn.note(answer, lambda: None)
    return turn


def unfinished(store: Store) -> list[str]:
    with store.read() as db:
        return [row[0] for row in db.all("SELECT content FROM unfinished_answers")]


def test_what_was_said_before_a_kill_is_kept_and_found(store: Store, ann: Caller, clock: FakeClock) -> None:
    chat_id = streamed(store, ann, clock, "Rotors ", "rust ", "overnight.").chat_id
    assert unfinished(store) == ["Rotors rust "]  # not with every token
    with store.transaction() as tx:
        turns.sweep(tx)
    assert ends(store, ann, chat_id) == [("one", None), ("Rotors rust ", "interrupted")]
    assert unfinished(store) == []
    with store.read() as db:
        assert [chat.id for chat in chats.list_(db, ChatQuery(q="rust"), ann.user_id).data] == [chat_id]


@pytest.mark.parametrize("end", ["answered", "deleted"])
def test_nothing_unfinished_stays_when_the_answer_is_there_or_its_chat_gone(
    store: Store, ann: Caller, clock: FakeClock, end: str
) -> None:
    turn = streamed(store, ann, clock, "Rotors ", "rust ")
    assert unfinished(store) == ["Rotors rust "]
    if end == "answered":
        turn.finish(Gathered(), "stop", None)
    else:
        with store.transaction() as tx:
            chats.delete(tx, ann, turn.chat_id or "")
    turn.note(Gathered(), lambda: None)
    clock.advance(5)
    turn.note(Gathered(), lambda: None)
    assert unfinished(store) == []


class Killed(Exception):
    """Stands for the end of the process."""


class Talking:
    """A completion that says a word a second, until the process ends."""

    id, model, usage = "resp-one", "m", None
    unfinished = Gathered()

    def __init__(self, clock: FakeClock, *words: str) -> None:
        self._clock = clock
        self._words = list(words)

    def begin(self) -> bool:
        return True

    def next(self, timeout: float) -> Chunk:
        if not self._words:
            raise Killed
        self._clock.advance(1)
        choice = ChunkChoice(index=0, delta=Delta(content=self._words.pop(0)), finish_reason=None)
        return Chunk(
            id=self.id,
            object="chat.completion.chunk",
            created=0,
            model=self.model,
            system_fingerprint="",
            choices=[choice],
        )

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_a_stream_notes_what_it_has_sent(store: Store, ann: Caller, clock: FakeClock) -> None:
    turn = Turns(store, clock).join(ann, said("one"), keep=False)
    answering = Answering(Talking(clock, "Pads ", "wear ", "out ", "first."), turn)
    answering.begin()
    with pytest.raises(Killed):
        while True:
            answering.next(0)
    assert unfinished(store) == ["Pads wear out first."]


def test_a_turn_whose_end_could_not_be_stored_is_interrupted_by_the_next(store: Store, ann: Caller) -> None:
    lost = begin(store, ann, "one")
    turn = begin(store, ann, "two", lost.chat_id)
    # the end of the first comes too late
    lost.finish(Gathered(), "stop", None)
    turn.finish(Gathered(), "stop", None)
    assert ends(store, ann, lost.chat_id) == [("one", None), ("", "interrupted"), ("two", None), ("", "stop")]


def test_of_two_turns_of_a_chat_the_second_is_refused_until_the_first_is_closed(store: Store, ann: Caller) -> None:
    held = Turns(store)
    first = held.join(ann, said("one"), keep=False)
    first.begin(Started("resp-1", "m"))
    with pytest.raises(Conflict):
        held.join(ann, said("two", first.chat_id), keep=False)
    first.close()
    second = held.join(ann, said("two", first.chat_id), keep=False)
    with pytest.raises(Conflict):
        held.join(ann, said("three", first.chat_id), keep=False)
    second.close()


def test_an_assistant_that_was_deleted_meanwhile_is_not_referred_to(store: Store, ann: Caller) -> None:
    turn = Turns(store).join(ann, said("one"), keep=False)
    assert isinstance(turn, Turn)
    turn.begin(Started("resp-one", "m", "asst-gone"))
    with store.read() as db:
        assert chats.get(db, ann.user_id, turn.chat_id or "").assistant_id is None


def test_nothing_is_written_for_a_user_who_was_disabled_meanwhile(store: Store, ann: Caller) -> None:
    turn = Turns(store).join(ann, said("one"), keep=False)
    with store.transaction() as tx:
        tx.run("UPDATE users SET disabled = 1 WHERE id = ?", ann.user_id)
    with pytest.raises(AuthenticationError):
        turn.begin(Started("resp-one", "m"))
    with store.read() as db:
        assert chats.list_(db, ChatQuery(), ann.user_id).total == 0


def test_what_did_not_begin_is_nowhere(store: Store, ann: Caller) -> None:
    held = Turns(store)
    held.join(ann, said("one"), keep=False).close()
    with store.read() as db:
        assert chats.list_(db, ChatQuery(archived="all"), ann.user_id).total == 0


def test_answers_of_which_nothing_came_are_not_told_to_the_model(store: Store, ann: Caller) -> None:
    chat_id = begin(store, ann, "one").chat_id
    with store.transaction() as tx:
        turns.sweep(tx)
    turn = Turns(store).join(ann, said("two", chat_id), keep=False)
    assert [message.content for message in turn.request.messages] == ["one", "two"]


def left(store: Store) -> tuple[int, ...]:
    with store.read() as db:
        return tuple(db.value(f"SELECT COUNT(*) FROM {table}") for table in ("chats", "messages", "chat_terms"))


def test_a_users_chats_go_with_them(store: Store, ann: Caller) -> None:
    begin(store, ann, "one")
    assert left(store) == (1, 1, 2)
    with store.transaction() as tx:
        OWNERSHIP.give_up(tx, ann.user_id, None)
    assert left(store) == (0, 0, 0)
    begin(store, ann, "two")
    with store.transaction() as tx:
        tx.run("DELETE FROM users WHERE id = ?", ann.user_id)
    assert left(store) == (0, 0, 0)


def test_a_users_chats_are_handed_over(store: Store, ann: Caller) -> None:
    chat_id = begin(store, ann, "one").chat_id
    with store.transaction() as tx:
        bob = users.create(tx, email="bob@example.org", name="Bob", role="user")
        OWNERSHIP.give_up(tx, ann.user_id, bob.id)
    with store.read() as db:
        assert [chat.id for chat in chats.list_(db, ChatQuery(q="one"), bob.id).data] == [chat_id]
        assert chats.list_(db, ChatQuery(q="one"), ann.user_id).total == 0


def test_chats_in_which_nothing_happened_for_long_are_deleted(store: Store, ann: Caller, clock: FakeClock) -> None:
    with store.transaction() as tx:
        kept, old = (chats.create(tx, ann, ChatCreate(title=title)).id for title in ("kept", "old"))
    begin(store, ann, "answered for days")
    clock.advance(10 * DAY)
    begin(store, ann, "one", kept)
    with store.transaction() as tx:
        before = tx.now() - 5 * DAY
        assert (chats.retain(tx, before), chats.retain(tx, before)) == (1, 0)
    with store.read() as db:
        titles = [chat.title for chat in chats.list_(db, ChatQuery(), ann.user_id).data]
        assert db.value("SELECT COUNT(*) FROM chats WHERE id = ?", old) == 0
    assert sorted(titles) == ["answered for days", "kept"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("  two\n lines\t\u0007", "two lines"),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("語" * 100, "語" * 60 + "…"),
        ("\u0000\n", ""),
        ("\u200d\u200c", ""),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_a_title_is_made_of_the_first_words(text: str, title: str) -> None:
    assert chats.first_words(text) == title


def test_a_chat_has_a_bound(store: Store, ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_id = begin(store, ann, "one").chat_id or ""
    monkeypatch.setattr(chat_messages, "MOST_MESSAGES", 2)
    with store.transaction() as tx:
        place = chats.place(tx, chat_id)
        new = [chat_messages.NewMessage(role="user", content="x")]
        chat_messages.add(tx, place, new)
        with pytest.raises(Conflict):
            chat_messages.add(tx, place, new)


def test_a_snippet_is_cut_around_the_first_hit() -> None:
    text = f"{'a ' * 500}needle {'b ' * 500}needle"
    snippet = chat_search._snippet(None, text, [["needle"]])
    assert snippet.text.startswith("…")
    assert snippet.text.endswith("…")
    assert [snippet.text[at.start : at.end] for at in snippet.highlights] == ["needle"]
    assert len(snippet.text) <= 202
