"""Searching chats where much is found."""

from __future__ import annotations

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.conversations import chat_search, chats
from secureai_appliance.conversations.chats import ChatQuery
from secureai_appliance.store import Store


def person(store: Store, name: str) -> Caller:
    with store.transaction() as tx:
        return users.caller_of(tx, users.create(tx, email=f"{name}@example.org", name=name, role="user").id)


def titled(store: Store, caller: Caller, *titles: str) -> None:
    with store.transaction() as tx:
        for title in titles:
            chats.insert(tx, caller, model=None, title=title, by="user")


def found(store: Store, caller: Caller, q: str, **query: str) -> list[str]:
    with store.read() as db:
        page = chats.list_(db, ChatQuery(q=q, **query), caller.user_id)  # type: ignore[arg-type]
    assert page.total == len(page.data)
    return [chat.title for chat in page.data]


def test_a_beginning_finds_the_same_however_many_terms_begin_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = person(store, "ann")
    titled(store, ann, "brake", "brakes 日本", "Bräkefluid", "braking", "bra", "x brake pad", "日本", "brak", "brb")
    expected = {
        "brake": ["x brake pad", "Bräkefluid", "brakes 日本", "brake"],
        "bra": ["brak", "x brake pad", "bra", "braking", "Bräkefluid", "brakes 日本", "brake"],
        "brak pad": ["x brake pad"],
        "日": ["日本", "brakes 日本"],
        "brakeless": [],
    }
    for most in (300, 1, 0):
        monkeypatch.setattr(chat_search, "_MOST_TERMS", most)
        assert {q: found(store, ann, q) for q in expected} == expected


def test_of_very_many_places_the_newest_count_and_those_of_others_use_up_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = person(store, "ann"), person(store, "bob")
    titled(store, ann, *(f"brake {number}" for number in range(5)))
    titled(store, bob, *(f"brake of bob {number}" for number in range(5)))
    monkeypatch.setattr(chat_search, "MOST_FOUND", 3)
    assert found(store, ann, "brake") == ["brake 4", "brake 3", "brake 2"]
    assert found(store, ann, "brake", sort="created_at") == ["brake 2", "brake 3", "brake 4"]
    with store.transaction() as tx:
        tx.run("UPDATE chats SET archived = 1 WHERE title = 'brake 0'")
    assert found(store, ann, "brake", archived="true") == ["brake 0"]
