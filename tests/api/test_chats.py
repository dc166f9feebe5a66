"""`/chats` and completions that are kept in one, over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.governance.audit import SYSTEM
from tests.support.chatting import CHATS, GREEDY, Person, wait_until
from tests.support.running import PATIENCE, Running
from tests.support.scripted import Heard, Line, Scripted, scripted


@pytest.fixture
def ann(api: Running) -> Person:
    return Person(api)


def test_a_chat_lives_through_create_show_patch_archive_and_delete(ann: Person) -> None:
    made = ann.ask("POST", CHATS, {"title": "Brake pads", "tags": ["parts", "parts"], "metadata": {"car": "Civic"}})
    assert made.status == 201
    chat = made.json
    assert chat == {
        "id": chat["id"],
        "user_id": ann.id,
        "title": "Brake pads",
        "model": None,
        "assistant_id": None,
        "archived": False,
        "tags": ["parts"],
        "metadata": {"car": "Civic"},
        "message_count": 0,
        "created_at": chat["created_at"],
        "updated_at": chat["updated_at"],
    }
    path = f"{CHATS}/{chat['id']}"
    assert ann.ask("GET", path).json == {**chat, "messages": []}
    assert ann.ask("PATCH", path, {"title": "Pads", "metadata": {}}).json["title"] == "Pads"
    assert ann.list()["total"] == 1
    assert ann.ask("POST", f"{path}/archive").json["archived"] is True
    assert ann.ask("POST", f"{path}/archive").status == 200
    assert (ann.list()["total"], ann.list("archived=true")["total"], ann.list("archived=all")["total"]) == (0, 1, 1)
    assert ann.ask("POST", f"{path}/unarchive").json["archived"] is False
    assert ann.ask("DELETE", path).status == 204
    assert ann.ask("GET", path).status == 404
    assert ann.list("archived=all")["total"] == 0


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"title": ""}, 400, "title"),
        ({"title": "a\u0007b"}, 400, "title"),
        ({"title": "x" * 201}, 400, "title"),
        ({"tags": ["ok", "a\nb"]}, 400, "tags.1"),
        ({"metadata": {"n": 5}}, 400, "metadata"),
        ({"model": "nothing"}, 422, "model"),
        ({"messages": []}, 400, "messages"),
    ],
)
def test_what_is_wrong_with_a_chat_is_said(ann: Person, body: Any, status: int, field: str) -> None:
    answer = ann.ask("POST", CHATS, body)
    assert (answer.status, answer.json["error"]["details"]["field"]) == (status, field)


@pytest.mark.parametrize("title", ["山田\u3000太郎", "می\u200cخواهم", "👩\u200d👧", "Freins\u00a0: conseils"])
def test_titles_and_tags_are_in_every_script(ann: Person, title: str) -> None:
    made = ann.ask("POST", CHATS, {"title": title, "tags": [title]})
    assert (made.status, made.json["title"], made.json["tags"]) == (201, title, [title])


def test_a_completion_with_store_makes_a_chat_with_the_whole_turn(ann: Person) -> None:
    answer = ann.say("What is a brake pad?", store=True, metadata={"from": "test"}).json
    chat = ann.chat(answer["chat_id"])
    assert chat["title"] == "What is a brake pad?"
    assert (chat["model"], chat["message_count"], chat["metadata"]) == ("smollm2-135m-instruct", 2, {"from": "test"})
    said, answered = chat["messages"]
    assert (said["role"], said["content"], said["finish_reason"]) == ("user", "What is a brake pad?", None)
    assert answered["content"] == answer["choices"][0]["message"]["content"]
    assert answered["finish_reason"] == answer["choices"][0]["finish_reason"]
    assert (answered["usage"], answered["completion_id"]) == (answer["usage"], answer["id"])


def test_a_completion_that_does_not_ask_for_it_is_kept_nowhere(ann: Person) -> None:
    assert "chat_id" not in ann.say("Hello").json
    assert "chat_id" not in ann.say("Hello", store=False).json
    assert ann.list("archived=all")["total"] == 0


def test_a_turn_has_what_was_said_before_it(ann: Person) -> None:
    chat_id = ann.start("My name is Ann.")
    first = ann.chat(chat_id)["messages"][1]["content"]
    second = ann.say("What is my name?", chat_id=chat_id).json
    told = [
        {"role": "user", "content": "My name is Ann."},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "What is my name?"},
    ]
    alone = ann.ask("POST", "/api/v1/chat/completions", {"model": "gpt-4", "messages": told, **GREEDY}).json
    assert second["chat_id"] == chat_id
    assert second["usage"]["prompt_tokens"] == alone["usage"]["prompt_tokens"]
    assert [message["role"] for message in ann.chat(chat_id)["messages"]] == ["user", "assistant"] * 2


def test_a_stream_names_its_chat_in_every_chunk_and_is_stored_when_it_has_ended(ann: Person) -> None:
    events = ann.say("Hello", stream=True, store=True, stream_options={"include_usage": True}).events
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert len({chunk["chat_id"] for chunk in chunks}) == 1
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    said, answered = ann.chat(chunks[0]["chat_id"])["messages"]
    assert (said["content"], answered["content"]) == ("Hello", text)
    assert answered["usage"] == chunks[-1]["usage"]


def test_an_assistants_tool_calls_and_their_results_are_kept(ann: Person) -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "stock", "arguments": '{"part": "BP1087"}'}}
    messages = [
        {"role": "user", "content": "Is BP1087 there?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "7 pieces"},
    ]
    chat_id = ann.say("", messages=messages, store=True).json["chat_id"]
    kept = ann.chat(chat_id)["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant", "tool", "assistant"]
    assert (kept[1]["content"], kept[1]["tool_calls"]) == (None, [call])
    assert (kept[2]["content"], kept[2]["tool_call_id"]) == ("7 pieces", "call-1")
    assert ann.say("And now?", chat_id=chat_id).status == 200


def test_another_users_chat_can_not_be_gone_on_with(ann: Person, api: Running) -> None:
    theirs = Person(api).start("Secret")
    foreign, missing = ann.say("Hi", chat_id=theirs), ann.say("Hi", chat_id="chat-none")
    assert (foreign.status, missing.status) == (404, 404)
    assert foreign.json["error"]["message"] == missing.json["error"]["message"]


def test_keeping_needs_the_permission_and_not_keeping_does_not(ann: Person, api: Running) -> None:
    made = ann.ask("POST", "/api/v1/keys", {"name": "narrow", "scopes": ["completions:create"]}).json["key"]
    sent = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    assert api.ask("POST", "/api/v1/chat/completions", {**sent, "store": True}, key=made).status == 403
    assert api.ask("POST", "/api/v1/chat/completions", sent, key=made).status == 200


def test_a_request_that_is_refused_leaves_no_chat(ann: Person) -> None:
    assert ann.say("word " * 3000, store=True).json["error"]["code"] == "context_length_exceeded"
    assert ann.say("Hi", store=True, n=2).status == 400
    assert ann.say("Hi", store=True, functions=[{}]).status == 422
    assert ann.list("archived=all")["total"] == 0


def test_the_setting_keeps_what_says_nothing_about_it(ann: Person, api: Running) -> None:
    with api.appliance.store.transaction() as tx:
        api.appliance.configs.put(tx, SYSTEM, "chats.store_completions", True)
    try:
        assert "chat_id" in ann.say("Hi").json
        assert "chat_id" not in ann.say("Hi", store=False).json
    finally:
        with api.appliance.store.transaction() as tx:
            api.appliance.configs.reset(tx, SYSTEM, "chats.store_completions")
    assert ann.list()["total"] == 1


# with a model on another server, which does what the test says


@pytest.fixture
def far(api: Running) -> Iterator[Far]:
    """The remote model `far-<n>`, which says `Hel`, and goes on when it is let."""
    with scripted(lambda heard, line: None) as server:
        made = Far(api, server)
        yield made
        made.go_on.set()
        api.ask("DELETE", f"/api/v1/models/{made.model}")


class Far:
    made = 0

    def __init__(self, api: Running, server: Scripted) -> None:
        Far.made += 1
        self.model = f"far-{Far.made}"
        self.go_on = threading.Event()
        self.gone = threading.Event()
        self.server = server
        server.script = self.probed
        remote = {"base_url": server.url, "model": "m"}
        made = api.ask("POST", "/api/v1/models", {"name": self.model, "remote": remote})
        assert made.status == 201, made.body
        server.script = self.answer

    def probed(self, heard: Heard, line: Line) -> None:
        line.answer_json(200, {"data": [{"id": "m"}], "object": "list"})

    def answer(self, heard: Heard, line: Line) -> None:
        if heard.method == "GET":
            self.probed(heard, line)
            return
        line.events({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]})
        if self.go_on.wait(PATIENCE):
            line.event({"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}]})
            line.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
            line.event("[DONE]")


class Open:
    """A stream that is being read."""

    def __init__(self, ann: Person, model: str, **fields: Any) -> None:
        sent = {"model": model, "messages": [{"role": "user", "content": "Say hello"}], "stream": True, **fields}
        headers = {"Authorization": f"Bearer {ann.key}", "Content-Type": "application/json"}
        self.connection = ann.api.connect()
        self.connection.request("POST", "/api/v1/chat/completions", json.dumps(sent), headers)
        self.answer = self.connection.getresponse()
        self.first = self.event()

    def event(self) -> Any:
        while True:
            line = self.answer.readline()
            assert line, "the stream is over"
            if line.startswith(b"data: "):
                text = line[6:].decode().strip()
                return text if text == "[DONE]" else json.loads(text)

    def rest(self) -> list[Any]:
        events = [self.event()]
        while events[-1] != "[DONE]":
            events.append(self.event())
        self.connection.close()
        return events


def test_what_was_said_is_stored_before_the_answer_and_a_second_turn_waits(ann: Person, far: Far) -> None:
    stream = Open(ann, far.model, store=True)
    chat_id = stream.first["chat_id"]
    assert [message["content"] for message in ann.chat(chat_id)["messages"]] == ["Say hello"]
    second = ann.say("And I?", chat_id=chat_id)
    assert (second.status, second.json["error"]["type"]) == (409, "conflict")
    far.go_on.set()
    assert stream.rest()[-1] == "[DONE]"
    answered = ann.chat(chat_id)["messages"][1]
    assert (answered["content"], answered["finish_reason"]) == ("Hello", "stop")
    assert answered["usage"]["total_tokens"] == 5
    assert ann.say("And I?", chat_id=chat_id).status == 200


def test_an_answer_whose_client_hung_up_is_kept_as_far_as_it_came(ann: Person, far: Far) -> None:
    stream = Open(ann, far.model, store=True)
    chat_id = stream.first["chat_id"]
    stream.answer.close()
    stream.connection.close()
    # the next turn is refused until the one before has ended
    wait_until(lambda: ann.chat(chat_id)["message_count"] == 2)
    answered = ann.chat(chat_id)["messages"][1]
    assert (answered["content"], answered["finish_reason"]) == ("Hel", "cancelled")
    far.go_on.set()
    wait_until(lambda: ann.say("Go on", chat_id=chat_id).status == 200)


def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(ann: Person, far: Far) -> None:
    def broken(heard: Heard, line: Line) -> None:
        line.events({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]}, "{")

    far.server.script = broken
    stream = Open(ann, far.model, store=True)
    *_, error, end = stream.rest()
    assert (end, "error" in error) == ("[DONE]", True)
    answered = ann.chat(stream.first["chat_id"])["messages"][1]
    assert (answered["content"], answered["finish_reason"]) == ("Hel", "error")


def test_a_chat_that_is_deleted_while_it_is_answered_stays_deleted(ann: Person, far: Far) -> None:
    stream = Open(ann, far.model, store=True)
    path = f"{CHATS}/{stream.first['chat_id']}"
    assert ann.ask("DELETE", path).status == 204
    far.go_on.set()
    assert stream.rest()[-1] == "[DONE]"
    assert ann.ask("GET", path).status == 404


def test_our_own_fields_do_not_go_to_the_other_server(ann: Person, far: Far) -> None:
    far.go_on.set()
    stream = Open(ann, far.model, store=True, metadata={"a": "b"})
    stream.rest()
    Open(ann, far.model, chat_id=stream.first["chat_id"]).rest()
    asked = [heard.json for heard in far.server.heard if heard.method == "POST"][-2:]
    assert not {"chat_id", "store", "metadata"} & {name for body in asked for name in body}
    assert [message["content"] for message in asked[1]["messages"]] == ["Say hello", "Hello", "Say hello"]
