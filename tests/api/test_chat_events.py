"""What happens beside chats: events to a receiver, titles by the model."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from standardwebhooks import Webhook as Verifier

from secureai_appliance.conversations.titles import Titles, clean
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.inference.engine import Engine
from secureai_appliance.upkeep import DELIVERIES
from tests.support.audit import newest, rows
from tests.support.chatting import CHATS, Person
from tests.support.running import PATIENCE, Running
from tests.support.webhooks import receiver


@pytest.fixture
def ann(api: Running) -> Person:
    return Person(api)


def test_events_tell_of_a_new_chat_and_of_a_complete_answer_field_by_field(ann: Person, api: Running) -> None:
    with receiver() as good:
        body = {"url": good.url, "events": ["chat.created", "chat.completed"]}
        hook = api.ask("POST", "/api/v1/webhooks", body).json
        try:
            kept = ann.say("Hello there", store=True).json
            ann.say("Hello")
            assert ann.say("word " * 3000, store=True).status == 400
            told = []
            for _ in range(3):
                api.appliance._scheduler.wake(DELIVERIES)
                told.append(good.next())
        finally:
            api.ask("DELETE", f"/api/v1/webhooks/{hook['id']}")
    for heard in told:
        Verifier(hook["secret"]).verify(heard.body, heard.headers)
    created, completed, unkept = (heard.json for heard in told)
    chat = ann.chat(kept["chat_id"])
    assert (created["event"], created["timestamp"]) == ("chat.created", chat["created_at"])
    assert created["data"] == {
        "chat_id": kept["chat_id"],
        "user_id": ann.id,
        "title": "Hello there",
        "assistant_id": None,
        "model": "smollm2-135m-instruct",
    }
    assert (completed["event"], completed["timestamp"]) == ("chat.completed", chat["messages"][1]["created_at"])
    assert completed["data"] == {
        "completion_id": kept["id"],
        "chat_id": kept["chat_id"],
        "user_id": ann.id,
        "model": "smollm2-135m-instruct",
        "finish_reason": kept["choices"][0]["finish_reason"],
        "usage": {name: kept["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
    }
    assert (unkept["event"], unkept["data"]["chat_id"]) == ("chat.completed", None)


def test_an_idle_model_makes_the_title_that_the_first_words_stand_in_for(ann: Person, api: Running) -> None:
    chat_id = ann.start("Which brake pads fit a Honda Civic of 2019?")
    named = ann.ask("POST", CHATS, {"title": "Mine"}).json["id"]
    ann.say("Hello", chat_id=named)
    appliance = api.appliance
    titles = Titles(appliance.store, SystemClock(), appliance.models, lambda: True)
    engine = appliance.models.in_memory()["smollm2-135m-instruct"]
    assert isinstance(engine, Engine)
    before = newest(appliance.store)

    def by(which: str) -> str:
        with appliance.store.read() as db:
            return str(db.value("SELECT title_by FROM chats WHERE id = ?", which))

    for _ in range(200):
        assert engine.wait_until(lambda queue: queue.running + queue.waiting == 0, PATIENCE)
        titles.step()
        if by(chat_id) == "model":
            break
    with appliance.store.read() as db:
        assert "chat.titled" in [row.action for row in rows(db, before) if row.target.id == chat_id]
    shown = ann.chat(chat_id)
    assert 0 < len(shown["title"]) <= 80
    assert shown["title"].isprintable()
    assert shown["id"] in [chat["id"] for chat in ann.list(f"q={quote(shown['title'])}")["data"]]
    assert (ann.chat(named)["title"], by(named)) == ("Mine", "user")


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ('"Brake pads"\nAnd more', "Brake pads"),
        ("\n\nTitle: **Brake pads.**", "Brake pads"),
        ("\u0007\n", ""),
        ("x" * 100, "x" * 79 + "…"),
    ],
)
def test_a_title_is_freed_of_what_models_put_around_it(written: str, title: str) -> None:
    assert clean(written) == title
