"""Answers from documents are kept, and told by tools, as far as their reader may read the documents."""

from __future__ import annotations

from typing import Any

from tests.support.asking import FLUID, NOT_FOUND, ask, said
from tests.support.knowledge import form, ready, upload_form
from tests.support.people import Person, person
from tests.support.scripted_model import Model, call, calls, last, text


def test_a_chat_keeps_the_citations_of_its_answers(ann: Person, base: str, model: Model, model_id: str) -> None:
    first = said(ask(ann, model_id, base, store=True))[1]
    chat = first["chat_id"]
    second = said(ask(ann, model_id, base, "Which brake fluid should I use?", chat_id=chat, stream=True))[1]
    kept = ann.ask("GET", f"/chats/{chat}").json["messages"]
    assert [message["citations"] for message in kept] == [None, first["citations"], None, second["citations"]]
    assert [message["retrieval"] for message in kept] == [None, first["retrieval"], None, second["retrieval"]]
    # what the user said is kept as they said it
    assert kept[0]["content"] == FLUID
    exported = ann.ask("GET", f"/chats/{chat}/export?format=json").json["messages"]
    assert exported[1]["citations"] == first["citations"]
    assert "\n[1] handbook.md" in ann.ask("GET", f"/chats/{chat}/export?format=markdown").body.decode()


def shown(by: Person, chat: str, owner: str) -> dict[str, list[dict[str, Any]]]:
    """The citations of a chat's last message wherever it can be read, by where."""
    others = "" if by.id == owner else f"&user_id={owner}&reason=test"
    found = {
        "chat": by.ask("GET", f"/chats/{chat}?{others[1:]}").json["messages"],
        "messages": by.ask("GET", f"/chats/{chat}/messages?page_size=100{others}").json["data"],
        "export": by.ask("GET", f"/chats/{chat}/export?format=json{others}").json["messages"],
        "list": next(
            each["messages"]
            for each in by.ask("GET", f"/chats?include=messages&page_size=100{others}").json["data"]
            if each["id"] == chat
        ),
    }
    return {where: messages[-1]["citations"] for where, messages in found.items()}


def covered(citation: dict[str, Any]) -> dict[str, Any]:
    """What is left of a citation whose document one may not read."""
    return citation | {"available": False, "filename": None, "page": None, "heading": None, "quote": None}


def test_what_a_chat_shows_of_documents_is_what_its_reader_may_read_of_them_then(
    ann: Person, model: Model, model_id: str
) -> None:
    base = str(ann.make("/knowledge", {})["id"])
    for name, said_there in (("one.txt", "The pump is painted purple."), ("two.txt", "The pump weighs 12 kg.")):
        files = form((name, said_there.encode(), "text/plain"))
        assert upload_form(ann.api, f"/api/v1/knowledge/{base}/documents", files, key=ann.key).status == 201
    ready(ann.api, f"/api/v1/knowledge/{base}", ann.key)
    bob, admin = person(ann.api), person(ann.api, "admin")
    share = {"visibility": "shared", "shares": [{"user_id": bob.id}]}
    assert ann.ask("PATCH", f"/knowledge/{base}", share).status == 200
    model.say = lambda _: text("It is purple [1].")
    answer = said(ask(bob, model_id, base, "Which pump is painted, and what does the pump weigh?", store=True))[1]
    chat, told = answer["chat_id"], answer["citations"]
    assert {each["filename"] for each in told} == {"one.txt", "two.txt"}
    assert all(each["available"] for each in told)
    assert all(each == told for each in shown(bob, chat, bob.id).values())
    # an administrator reads with their own rights, and so does a key that may not read knowledge
    assert all(each == list(map(covered, told)) for each in shown(admin, chat, bob.id).values())
    narrow = bob.ask("POST", "/keys", {"name": "chats", "scopes": ["chats:read"]}).json["key"]
    kept = ann.api.ask("GET", f"/api/v1/chats/{chat}", key=narrow).json["messages"][-1]
    assert kept["citations"] == list(map(covered, told))
    # one document is deleted, the other stays
    gone, *_ = [each["document_id"] for each in told if each["filename"] == "one.txt"]
    before = bob.ask("GET", f"/chats/{chat}").headers["etag"]
    assert ann.ask("DELETE", f"/knowledge/{base}/documents/{gone}").status == 204
    wanted = [covered(each) if each["document_id"] == gone else each for each in told]
    assert all(each == wanted for each in shown(bob, chat, bob.id).values())
    assert bob.ask("GET", f"/chats/{chat}", headers={"If-None-Match": before}).status == 200
    # nothing of the base is shared any more: the answer itself stays
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "private"}).status == 200
    assert all(each == list(map(covered, told)) for each in shown(bob, chat, bob.id).values())
    markdown = bob.ask("GET", f"/chats/{chat}/export?format=markdown").body.decode()
    assert "It is purple [1]." in markdown
    assert "[1] no longer available" in markdown
    assert not [
        each for each in ("one.txt", "two.txt", "12 kg", "is painted") if each in markdown.partition("Assist")[2]
    ]
    # and comes back with the right to it
    etag = bob.ask("GET", f"/chats/{chat}").headers["etag"]
    assert ann.ask("PATCH", f"/knowledge/{base}", share).status == 200
    assert all(each == wanted for each in shown(bob, chat, bob.id).values())
    assert bob.ask("PATCH", f"/chats/{chat}", {"title": "x"}, headers={"If-Match": etag}).status == 412
    etag = bob.ask("GET", f"/chats/{chat}").headers["etag"]
    assert bob.ask("PATCH", f"/chats/{chat}", {"title": "x"}, headers={"If-Match": etag}).status == 200


def test_a_base_that_one_may_not_read_is_as_none(ann: Person, base: str, model: Model, model_id: str) -> None:
    bob = person(ann.api)
    answer = bob.ask(
        "POST",
        "/chat/completions",
        {"model": "gpt-4", "messages": [{"role": "user", "content": FLUID}], "knowledge_base_ids": [base]},
    )
    missing = ask(ann, model_id, "kb-none")
    assert (answer.status, missing.status) == (404, 404)
    assert answer.json["error"]["message"] == missing.json["error"]["message"]
    assert missing.json["error"]["code"] == "knowledge_base_not_found"
    assert not model.asked


def test_an_assistant_answers_from_what_its_user_may_read(ann: Person, base: str, model: Model, model_id: str) -> None:
    made = ann.make(
        "/assistants",
        {
            "model": model_id,
            "system_prompt": "You are the workshop.",
            "knowledge_base_ids": [base],
            "parameters": {"retrieval": {"top_k": 2}},
            "visibility": "everyone",
        },
    )
    messages = [{"role": "user", "content": FLUID}]
    answer = ann.ask("POST", "/chat/completions", {"assistant_id": made["id"], "messages": messages}).json
    assert len(answer["citations"]) <= 2
    assert "every two years" in answer["citations"][0]["quote"]
    assert model.asked[-1]["messages"][0] == {"role": "system", "content": "You are the workshop."}
    # an empty list of the request's takes the knowledge away
    body = {"assistant_id": made["id"], "messages": messages, "knowledge_base_ids": []}
    assert "citations" not in ann.ask("POST", "/chat/completions", body).json
    model.asked.clear()
    bob = person(ann.api, "admin")
    theirs = bob.ask("POST", "/chat/completions", {"assistant_id": made["id"], "messages": messages}).json
    assert theirs["choices"][0]["message"]["content"] == NOT_FOUND
    assert theirs["citations"] == []
    assert not model.asked


def test_tools_are_asked_where_the_documents_say_nothing(ann: Person, base: str, model: Model, model_id: str) -> None:
    admin = person(ann.api, "admin")
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "everyone"}).status == 200
    tool = admin.make("/tools", {"type": "builtin", "builtin": "calculator"})
    fields = {"model": model_id, "knowledge_base_ids": [base], "tool_ids": [tool["id"]]}
    asked = admin.make("/assistants", fields)["id"]
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "private"}).status == 200
    model.say = lambda body: (
        text(f"It is {last(body)['content']} [1].")
        if last(body)["role"] == "tool"
        else calls(call(tool["name"], expression="6 * 7"))
    )
    body = {"assistant_id": asked, "messages": [{"role": "user", "content": "What is six times seven?"}]}
    answer = admin.ask("POST", "/chat/completions", body).json
    assert answer["choices"][0]["message"]["content"] == "It is 42."
    assert answer["retrieval"]["outcome"] == "not_in_documents"


def test_a_tool_looks_for_passages_and_the_answer_cites_them(
    ann: Person, base: str, model: Model, model_id: str
) -> None:
    admin = person(ann.api, "admin")
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "everyone"}).status == 200
    tool = admin.make("/tools", {"type": "builtin", "builtin": "knowledge_search"})
    fields = {"model": model_id, "knowledge_base_ids": [base], "tool_ids": [tool["id"]]}
    asked = admin.make("/assistants", fields)["id"]
    queries = iter(["brake fluid change", "amount of invoice BP1087", "brake fluid", "capital of Portugal"])

    def say(body: dict[str, Any]) -> dict[str, Any]:
        query = next(queries, None)
        return calls(call(tool["name"], query=query)) if query else text("Two years [1], 412.50 [2], but [99].")

    model.say = say
    body = {"assistant_id": asked, "messages": [{"role": "user", "content": "Tell me all."}], "store": True}
    content, answer = said(admin.ask("POST", "/chat/completions", {**body, "stream": True}))
    assert content == "Two years [1], 412.50 [2], but."
    assert "[1] handbook.md" in model.asked[1]["messages"][-1]["content"]
    # what was found before keeps its number
    assert "[1] handbook.md" in model.asked[3]["messages"][-1]["content"]
    assert model.asked[4]["messages"][-1]["content"] == "Nothing about this was found in the documents."
    assert "every two years" in answer["citations"][0]["quote"]
    assert [each["index"] for each in answer["citations"]] == list(range(1, len(answer["citations"]) + 1))
    assert "412.50" in answer["citations"][1]["quote"]
    assert [each["index"] for each in answer["citations"] if each["cited"]] == [1, 2]
    kept = admin.ask("GET", f"/chats/{answer['chat_id']}").json["messages"]
    assert kept[-1]["citations"] == answer["citations"]
    # with the rights of whoever asks
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "private"}).status == 200
    invoked = admin.ask("POST", f"/tools/{tool['id']}/invoke", {"arguments": {"query": "brake fluid"}}).json
    assert (invoked["ok"], invoked["result"]) == (True, "Nothing about this was found in the documents.")
    shared = {"visibility": "everyone"}
    assert admin.ask("PATCH", f"/tools/{tool['id']}", shared).status == 200
    with ann.api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET role = 'admin' WHERE id = ?", ann.id)
    try:
        mine = ann.ask("POST", f"/tools/{tool['id']}/invoke", {"arguments": {"query": "brake fluid"}}).json
        assert "every two years" in mine["result"]
    finally:
        with ann.api.appliance.store.transaction() as tx:
            tx.run("UPDATE users SET role = 'user' WHERE id = ?", ann.id)


def test_what_a_tool_found_is_shown_as_long_as_it_may_be_read(
    ann: Person, base: str, model: Model, model_id: str
) -> None:
    admin = person(ann.api, "admin")
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "everyone"}).status == 200
    own = str(admin.make("/knowledge", {})["id"])
    path = f"/api/v1/knowledge/{own}"
    files = form(("own.txt", b"Our own brake fluid is stored in the cellar.", "text/plain"))
    assert upload_form(admin.api, f"{path}/documents", files, key=admin.key).status == 201
    ready(admin.api, path, admin.key)
    tool = admin.make("/tools", {"type": "builtin", "builtin": "knowledge_search"})
    asked = admin.make("/assistants", {"model": model_id, "knowledge_base_ids": [base, own], "tool_ids": [tool["id"]]})
    model.say = lambda body: (
        text("Every two years.")
        if last(body)["role"] == "tool"
        else calls(call(tool["name"], query="brake fluid changed"))
    )
    body = {"assistant_id": asked["id"], "messages": [{"role": "user", "content": "Tell me all."}], "store": True}
    chat = admin.ask("POST", "/chat/completions", body).json["chat_id"]

    def told() -> tuple[dict[str, Any], str]:
        message = admin.ask("GET", f"/chats/{chat}").json["messages"][2]
        found = admin.ask("GET", "/chats?q=%22takes+up+water%22").json["data"]
        return message, " ".join(snippet["text"] for each in found for snippet in each["snippets"])

    message, snippet = told()
    assert {each["filename"] for each in message["citations"]} >= {"handbook.md", "own.txt"}
    assert "takes up water" in message["content"]
    assert "takes up water" in snippet
    assert ann.ask("PATCH", f"/knowledge/{base}", {"visibility": "private"}).status == 200
    message, snippet = told()
    assert "stored in the cellar" in message["content"]
    assert "(no longer available)" in message["content"]
    for shown_there in (message["content"], snippet, str(message["citations"])):
        for secret in ("takes up water", "handbook.md", "DOT 4", "manual.pdf"):
            assert secret not in shown_there
    # nor is it told to the model again
    model.say = lambda _: text("As I said.")
    more = [{"role": "user", "content": "And then?"}]
    assert admin.ask("POST", "/chat/completions", {**body, "chat_id": chat, "messages": more}).status == 200
    assert "stored in the cellar" in str(model.asked[-1]["messages"])
    assert "takes up water" not in str(model.asked[-1]["messages"])
