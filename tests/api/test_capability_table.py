"""The contract's table of what the API can do, row by row, as a client sees it."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_chat_completions_send_messages_and_receive_ai_responses_streaming_and_non_streaming(api: Running) -> None:
    whole = api.chat("Hello")
    assert whole.json["choices"][0]["message"]["role"] == "assistant"
    assert api.chat("Hello", stream=True).events[-1] == "[DONE]"


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
