"""The contract's table of what the API can do, row by row, as a client sees it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.knowledge import settled, upload_file
from tests.support.people import Person, person
from tests.support.running import Running


@pytest.fixture(scope="module")
def admin(api: Running) -> Person:
    return person(api, "admin")


def lives(by: Person, path: str, body: dict[str, Any], change: dict[str, Any]) -> None:
    """Create, list, read, update, delete."""
    made = by.make(path, body)
    assert made["id"] in [item["id"] for item in by.ask("GET", f"{path}?page_size=100").json["data"]]
    changed = by.ask("PATCH", f"{path}/{made['id']}", change)
    assert changed.status == 200, changed.body
    assert by.ask("GET", f"{path}/{made['id']}").json == changed.json
    assert by.ask("DELETE", f"{path}/{made['id']}").status == 204
    assert by.ask("GET", f"{path}/{made['id']}").status == 404


def test_chats_create_list_search_archive_and_delete_conversations(api: Running) -> None:
    ann = person(api)
    made = ann.ask("POST", "/chats", {"title": "Brake pads of the Civic"})
    assert (made.status, made.json["archived"]) == (201, False)
    where = f"/chats/{made.json['id']}"
    assert [chat["id"] for chat in ann.ask("GET", "/chats").json["data"]] == [made.json["id"]]
    assert ann.ask("GET", "/chats?q=pads+civic").json["total"] == 1
    assert ann.ask("GET", "/chats?q=gearbox").json["total"] == 0
    assert ann.ask("POST", f"{where}/archive").json["archived"] is True
    assert [ann.ask("GET", f"/chats?archived={which}").json["total"] for which in ("false", "true")] == [0, 1]
    assert ann.ask("DELETE", where).status == 204
    assert (ann.ask("GET", where).status, ann.ask("GET", "/chats?archived=all").json["total"]) == (404, 0)


def test_chat_completions_send_messages_and_receive_ai_responses_streaming_and_non_streaming(api: Running) -> None:
    whole = api.chat("Hello")
    assert whole.json["choices"][0]["message"]["role"] == "assistant"
    assert api.chat("Hello", stream=True).events[-1] == "[DONE]"


def test_knowledge_bases_create_update_list_and_delete_upload_and_manage_documents(api: Running) -> None:
    ann = person(api)
    lives(ann, "/knowledge", {}, {"description": "All about brakes"})
    base = f"/api/v1/knowledge/{ann.make('/knowledge', {})['id']}"
    document = upload_file(api, f"{base}/documents", "Brake fluid is changed every two years.", key=ann.key).json
    where = f"{base}/documents/{document['id']}"
    assert settled(api, where, ann.key)["status"] == "indexed"
    found = api.ask("POST", f"{base}/search", {"query": "When is brake fluid changed?"}, key=ann.key).json["data"]
    assert [hit["document_id"] for hit in found] == [document["id"]]
    assert api.ask("DELETE", where, key=ann.key).status == 204
    assert api.ask("GET", f"{base}/documents", key=ann.key).json["total"] == 0


def test_documents_upload_list_and_delete_files_attached_to_knowledge_bases(api: Running) -> None:
    ann = person(api)
    base_id = ann.make("/knowledge", {})["id"]
    uploaded = upload_file(api, "/api/v1/documents", "Winter tyres need 4 mm.", key=ann.key, knowledge_base_id=base_id)
    assert uploaded.status == 201, uploaded.body
    where = f"/api/v1/documents/{uploaded.json['id']}"
    assert settled(api, where, ann.key)["status"] == "indexed"
    listed = ann.ask("GET", f"/documents?knowledge_base_id={base_id}").json["data"]
    assert [(document["id"], document["knowledge_base_id"]) for document in listed] == [(uploaded.json["id"], base_id)]
    assert api.ask("DELETE", where, key=ann.key).status == 204
    assert ann.ask("GET", f"/documents?knowledge_base_id={base_id}").json["total"] == 0


def test_users_list_update_roles_manage_permissions_by_administrators_only(api: Running, admin: Person) -> None:
    ann = person(api)
    listed = admin.ask("GET", "/users?page_size=100&sort=-created_at").json["data"]
    assert ann.id in [user["id"] for user in listed]
    assert ann.ask("GET", "/auditlogs").status == 403
    assert admin.ask("PATCH", f"/users/{ann.id}", {"role": "auditor"}).json["role"] == "auditor"
    assert ann.ask("GET", "/auditlogs").status == 200
    denied = admin.ask("PATCH", f"/users/{ann.id}", {"permissions": {"denied": ["audit:read"]}})
    assert denied.json["permissions"]["denied"] == ["audit:read"]
    assert ann.ask("GET", "/auditlogs").status == 403
    bob = person(api)
    assert bob.ask("GET", "/users").status == 403
    assert bob.ask("PATCH", f"/users/{bob.id}", {"role": "admin"}).status == 403


def test_assistants_create_configure_list_and_manage_with_system_prompts_and_tool_bindings(admin: Person) -> None:
    tool = admin.make("/tools", {"name": "adder", "type": "builtin", "builtin": "calculator"})
    body = {"system_prompt": "You are a helpful automotive parts assistant.", "tool_ids": [tool["id"]]}
    lives(admin, "/assistants", body, {"parameters": {"temperature": 0.1}})


def test_models_list_check_status_and_view_capabilities(api: Running) -> None:
    model = api.ask("GET", "/api/v1/models/gpt-4").json
    assert model["status"] in {"available", "loading", "loaded"}
    assert "chat" in model["capabilities"]
    assert api.ask("GET", "/api/v1/models").json["total"] > 0


def test_prompts_create_list_and_manage_saved_templates(admin: Person) -> None:
    lives(admin, "/prompts", {"content": "What {{part}} fit?"}, {"content": "Which {{part}} fit a {{car}}?"})


def test_tools_register_list_and_manage(admin: Person) -> None:
    lives(admin, "/tools", {"type": "builtin", "builtin": "current_time"}, {"description": "Tells the time"})


def test_configs_read_and_update_by_administrators_only(api: Running, admin: Person) -> None:
    where = "/configs/tools.max_rounds"
    value = admin.ask("GET", where).json["value"]
    assert admin.ask("PUT", where, {"value": value}).status == 200
    assert person(api).ask("GET", where).status == 403


def test_audit_logs_query_user_activity_and_system_events_by_administrators_only(api: Running, admin: Person) -> None:
    assert admin.ask("GET", "/auditlogs?action=system.started").json["total"] > 0
    assert person(api).ask("GET", "/auditlogs").status == 403
