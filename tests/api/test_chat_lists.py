"""Lists of chats: searched, filtered, exported, walked while others insert, read by administrators."""

from __future__ import annotations

import threading
from urllib.parse import quote

import pytest

from tests.support.audit import newest, rows
from tests.support.chatting import CHATS, Person
from tests.support.running import PATIENCE, Running


@pytest.fixture
def ann(api: Running) -> Person:
    return Person(api)


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
