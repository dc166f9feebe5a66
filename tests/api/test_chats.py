"""`/chats` and completions that are kept in one, over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from standardwebhooks import Webhook as Verifier

from secureai_appliance.conversations.titles import Titles, clean
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.inference.engine import Engine
from secureai_appliance.upkeep import DELIVERIES
from tests.support.audit import newest, rows
from tests.support.running import PATIENCE, Response, Running
from tests.support.scripted import Heard, Line, Scripted, scripted
from tests.support.webhooks import receiver

CHATS = "/api/v1/chats"
GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 8}


class Person:
    """A user with their own key, and their chats."""

    made = 0

    def __init__(self, api: Running) -> None:
        Person.made += 1
        self.api = api
        self.key = api.make_user(f"chats-{Person.made}@example.org")
        self.id = str(self.ask("GET", "/api/v1/me").json["id"])

    def ask(self, method: str, path: str, body: Any = None, **given: Any) -> Response:
        return self.api.ask(method, path, body, key=self.key, **given)

    def say(self, text: str, **fields: Any) -> Response:
        sent = {"model": "gpt-4", "messages": [{"role": "user", "content": text}], **GREEDY, **fields}
        return self.ask("POST", "/api/v1/chat/completions", sent)

    def start(self, text: str, **fields: Any) -> str:
        answer = self.say(text, store=True, **fields)
        assert answer.status == 200, answer.body
        return str(answer.json["chat_id"])

    def chat(self, chat_id: str) -> Any:
        return self.ask("GET", f"{CHATS}/{chat_id}").json

    def list(self, query: str = "") -> Any:
        return self.ask("GET", f"{CHATS}?{query}").json


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask until it does; each time is a request of its own."""
    assert any(holds() for _ in range(3000))


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


# lists


def test_chats_are_found_by_what_was_said_in_them_with_the_place(ann: Person) -> None:
    ids = [ann.ask("POST", CHATS, {"title": title}).json["id"] for title in ("Brakes", "Öl für den Café-Racer", "x")]
    said = ann.start("The Bosch brake_pads of the Honda, and 今日は日本語で.")
    assert [chat["id"] for chat in ann.list("q=brake")["data"]] == [said, ids[0]]
    assert [chat["id"] for chat in ann.list("q=OL+cafe")["data"]] == [ids[1]]
    assert [chat["id"] for chat in ann.list(f"q={quote('日本')}")["data"]] == [said]
    assert [chat["id"] for chat in ann.list(f"q={quote('語')}")["data"]] == [said]
    for nothing in ("!", "bosch+ford", quote('" OR *'), quote("日今")):
        assert ann.list(f"q={nothing}")["total"] == 0, nothing
    found = ann.list("q=brake")["data"]
    in_title, in_message = found[1]["snippets"][0], found[0]["snippets"]
    assert in_title == {"message_id": None, "text": "Brakes", "highlights": [{"start": 0, "end": 6}]}
    assert in_message[-1]["message_id"] == ann.chat(said)["messages"][0]["id"]
    for snippet in in_message:
        assert {snippet["text"][at["start"] : at["end"]].lower() for at in snippet["highlights"]} == {"brake"}


def test_a_renamed_and_a_deleted_chat_are_no_longer_found_by_what_they_were(ann: Person, api: Running) -> None:
    chat_id = ann.start("carburettor")
    ann.ask("PATCH", f"{CHATS}/{chat_id}", {"title": "gearbox"})
    assert [snippet["message_id"] for snippet in ann.list("q=carburettor")["data"][0]["snippets"]] != [None]
    assert ann.list("q=gearbox")["total"] == 1
    with api.appliance.store.read() as db:
        place = db.value("SELECT row_id FROM chats WHERE id = ?", chat_id)
    ann.ask("DELETE", f"{CHATS}/{chat_id}")
    assert ann.list("q=gearbox")["total"] == 0
    with api.appliance.store.read() as db:
        for table, column in (("messages", "row_id"), ("chat_terms", "rowid")):
            sql = f"SELECT COUNT(*) FROM {table} WHERE {column} >> 20 = ?"
            assert db.value(sql, place) == 0


def test_a_chat_of_somebody_else_is_found_by_nobody(ann: Person, api: Running) -> None:
    other = Person(api)
    other.start("The word is xylophone")
    for query in ("q=xylophone", "archived=all", "created_after=2000-01-01&include=messages"):
        assert ann.list(query)["total"] == 0
    assert other.list("q=xylophone")["total"] == 1


def test_filters_of_the_list(ann: Person) -> None:
    tagged = ann.ask("POST", CHATS, {"title": "b", "tags": ["a", 'say "hi"']}).json["id"]
    plain = ann.ask("POST", CHATS, {"title": "a"}).json["id"]
    ann.ask("POST", f"{CHATS}/{plain}/archive")
    assert [chat["id"] for chat in ann.list("tag=a")["data"]] == [tagged]
    assert [chat["id"] for chat in ann.list("tag=say+%22hi%22")["data"]] == [tagged]
    assert ann.list("tag=none")["total"] == ann.list("assistant_id=asst-x")["total"] == 0
    assert [chat["id"] for chat in ann.list("archived=all&sort=title")["data"]] == [plain, tagged]
    # a range of time is an export: archived chats too, unless it says otherwise
    assert ann.list("created_after=2000-01-01")["total"] == 2
    assert ann.list("created_after=2000-01-01&archived=false")["total"] == 1
    assert ann.list("created_before=2000-01-01")["total"] == 0


@pytest.mark.parametrize("path", [CHATS, f"{CHATS}/{{id}}/messages"])
@pytest.mark.parametrize("size", ["0", "101", "-1", "x"])
def test_a_page_size_out_of_bounds_is_400(ann: Person, path: str, size: str) -> None:
    chat_id = ann.ask("POST", CHATS, {}).json["id"]
    answer = ann.ask("GET", f"{path.replace('{id}', chat_id)}?page_size={size}")
    assert (answer.status, answer.json["error"]["details"]["field"]) == (400, "page_size")


def test_the_contracts_export_has_the_messages_when_it_asks_for_them(ann: Person) -> None:
    chat_id = ann.start("Hello")
    query = "created_after=2026-03-01&created_before=2999-03-15&page_size=100"
    assert "messages" not in ann.list(query)["data"][0]
    assert ann.list(f"{query}&include=messages")["data"][0]["messages"] == ann.chat(chat_id)["messages"]


def test_messages_are_a_list_of_their_own(ann: Person) -> None:
    chat_id = ann.start("Hello")
    ann.say("Again", chat_id=chat_id)
    whole = ann.chat(chat_id)["messages"]
    path = f"{CHATS}/{chat_id}/messages"
    assert ann.ask("GET", path).json["data"] == whole
    first = ann.ask("GET", f"{path}?page_size=3").json
    rest = ann.ask("GET", f"{path}?page_size=3&cursor={first['next']}").json
    assert (first["total"], first["data"] + rest["data"], rest["next"]) == (4, whole, None)
    assert ann.ask("GET", f"{path}?sort=-created_at").json["data"] == whole[::-1]
    assert [message["content"] for message in ann.ask("GET", f"{path}?q=Again").json["data"]] == ["Again"]


def test_a_chat_can_be_taken_away_as_json_and_as_markdown(ann: Person) -> None:
    chat_id = ann.start("Hello")
    whole = ann.ask("GET", f"{CHATS}/{chat_id}/export")
    assert whole.headers["content-disposition"] == f'attachment; filename="{chat_id}.json"'
    assert whole.json == ann.chat(chat_id)
    text = ann.ask("GET", f"{CHATS}/{chat_id}/export?format=markdown")
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert text.body.decode().startswith("# Hello\n")
    assert "\n## User, 20" in text.body.decode()
    assert ann.chat(chat_id)["messages"][1]["content"] in text.body.decode()


def test_a_stale_if_match_changes_nothing(ann: Person) -> None:
    chat_id = ann.ask("POST", CHATS, {"title": "first"}).json["id"]
    path = f"{CHATS}/{chat_id}"
    tag = ann.ask("GET", path).headers["etag"]
    assert ann.ask("PATCH", path, {"title": "second"}, headers={"If-Match": tag}).status == 200
    for method, body in (("PATCH", {"title": "third"}), ("DELETE", None)):
        assert ann.ask(method, path, body, headers={"If-Match": tag}).status == 412
    again = ann.ask("GET", path)
    assert (again.json["title"], again.status) == ("second", 200)
    assert ann.ask("GET", path, headers={"If-None-Match": again.headers["etag"]}).status == 304


def test_a_repeated_create_makes_one_chat(ann: Person) -> None:
    headers = {"Idempotency-Key": "chat-1"}
    first, again = (ann.ask("POST", CHATS, {"title": "once"}, headers=headers) for _ in range(2))
    assert (first.json, ann.list()["total"]) == (again.json, 1)


# administrators


def test_an_administrator_reads_others_chats_with_a_reason_that_is_noted(ann: Person, api: Running) -> None:
    chat_id = ann.start("My secret")
    assert api.ask("GET", f"{CHATS}?user_id={ann.id}").json["error"]["details"]["field"] == "reason"
    assert api.ask("GET", f"{CHATS}/{chat_id}").status == 404
    before = newest(api.appliance.store)
    why = f"user_id={ann.id}&reason=case+17"
    assert [chat["id"] for chat in api.ask("GET", f"{CHATS}?{why}").json["data"]] == [chat_id]
    assert api.ask("GET", f"{CHATS}/{chat_id}?{why}").json == ann.chat(chat_id)
    assert api.ask("GET", f"{CHATS}/{chat_id}/messages?{why}").json["total"] == 2
    assert api.ask("GET", f"{CHATS}/{chat_id}/export?{why}").status == 200
    everybodys = api.ask("GET", f"{CHATS}?user_id=all&reason=case+17&q=secret").json
    assert chat_id in [chat["id"] for chat in everybodys["data"]]
    with api.appliance.store.read() as db:
        noted = [row for row in rows(db, before) if row.action == "content.read"]
    assert [row.target.id for row in noted] == [None, chat_id, chat_id, chat_id, None]
    assert [row.details["owner_id"] for row in noted] == [ann.id] * 4 + ["all"]
    assert {row.details["reason"] for row in noted} == {"case 17"}


def test_nobody_else_reads_others_chats_for_any_reason(ann: Person, api: Running) -> None:
    other = Person(api)
    for who in (other.id, "all"):
        assert ann.ask("GET", f"{CHATS}?user_id={who}&reason=x").status == 403
    assert ann.ask("GET", f"{CHATS}?user_id={ann.id}").status == 200


# events


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


# many at a time


def test_a_walk_over_all_pages_repeats_and_misses_nothing_while_others_insert(ann: Person) -> None:
    before = [ann.ask("POST", CHATS, {"title": f"{n}"}).json["id"] for n in range(20)]
    start = threading.Barrier(51)
    statuses: list[int] = []

    def insert() -> None:
        start.wait(PATIENCE)
        statuses.append(ann.ask("POST", CHATS, {"title": "late"}).status)

    threads = [threading.Thread(target=insert) for _ in range(50)]
    for thread in threads:
        thread.start()
    start.wait(PATIENCE)
    walks = {"": walk(ann, "page_size=3"), "sort=created_at": walk(ann, "page_size=3&sort=created_at", by_page=True)}
    for thread in threads:
        thread.join()
    assert statuses == [201] * 50
    for name, met in walks.items():
        assert len(met) == len(set(met)), name
        assert set(before) <= set(met), name
    assert len(walk(ann, "page_size=100")) == 70


def walk(ann: Person, query: str, *, by_page: bool = False) -> list[str]:
    met: list[str] = []
    page = ann.list(query)
    number = 1
    while True:
        met += [chat["id"] for chat in page["data"]]
        if page["next"] is None:
            return met
        number += 1
        page = ann.list(f"{query}&page={number}" if by_page else f"{query}&cursor={page['next']}")


# titles


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
