"""Importing, changing, loading and removing models, over real sockets and with real files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.inference.library import Library
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import ModelRow
from tests.support.models import CHAT
from tests.support.running import PATIENCE, Response, Running
from tests.support.schemas import validate

IMPORTED = "/api/v1/models/second"


@pytest.fixture
def second(api: Running) -> Iterator[str]:
    """Another chat model: the bundled one's bytes and some more, so that it is not the same file."""
    file = imports(api) / "Second.gguf"
    file.write_bytes(CHAT.read_bytes() + bytes(64))
    made = api.ask("POST", "/api/v1/models", {"file": "Second.gguf", "aliases": ["another"]})
    assert made.status == 201, made.body
    validate(made.json, "Model")
    yield made.json["id"]
    api.ask("POST", f"{IMPORTED}/unload")
    api.ask("DELETE", IMPORTED)


def catalogue_row(api: Running, name: str) -> ModelRow:
    with api.appliance.store.read() as db:
        return catalogue.find(db, name)


def imports(api: Running) -> Path:
    return api.appliance.settings.data_folder.import_


def test_an_imported_model_answers_until_it_is_removed(api: Running, second: str) -> None:
    shown = api.ask("GET", f"/api/v1/models/{second}").json
    assert (shown["id"], shown["source"], shown["aliases"]) == ("second", "imported", ["another"])
    assert api.chat("Hello", model="another", max_tokens=2).json["model"] == "second"
    assert api.ask("GET", IMPORTED).json["status"] == "loaded"
    assert api.ask("POST", f"{IMPORTED}/unload").json["status"] == "available"
    assert api.ask("POST", f"{IMPORTED}/load").json["status"] == "loaded"
    assert api.ask("DELETE", IMPORTED).status == 204
    assert api.ask("GET", IMPORTED).status == api.ask("GET", "/api/v1/models/another").status == 404
    assert list(api.appliance.settings.data_folder.imported.iterdir()) == []
    assert "second" not in api.appliance.models.in_memory()


def test_a_model_is_in_use_until_its_stream_has_ended_or_the_client_has_gone(api: Running, second: str) -> None:
    body = {"model": second, "messages": [{"role": "user", "content": "Count to 1000."}], "stream": True}
    connection = api.connect()
    connection.request(
        "POST",
        "/api/v1/chat/completions",
        json.dumps(body),
        {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    answer.readline()
    for method, path in (("POST", f"{IMPORTED}/unload"), ("DELETE", IMPORTED)):
        assert api.ask(method, path).status == 409
    answer.close()
    connection.close()
    handle = api.appliance.models.load(catalogue_row(api, second))
    deadline = time.monotonic() + PATIENCE
    while handle.busy and time.monotonic() < deadline:
        api.ask("GET", "/healthz")
    assert api.ask("POST", f"{IMPORTED}/unload").json["status"] == "available"


def test_settings_count_from_the_next_loading_on(api: Running, second: str) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    before = api.chat("Hello", model=second, max_tokens=2).json["usage"]["prompt_tokens"]
    tag = api.ask("GET", IMPORTED).headers["etag"]
    body = {"settings": {"context_length": 300, "chat_template": template}}
    changed = api.ask("PATCH", IMPORTED, body, headers={"If-Match": tag})
    assert changed.status == 200
    assert changed.json["settings"]["context_length"] == 300
    assert api.ask("PATCH", IMPORTED, {"pinned": True}, headers={"If-Match": tag}).status == 412
    api.ask("POST", f"{IMPORTED}/unload")
    assert api.ask("POST", f"{IMPORTED}/load").json["context_length"] == 300
    assert api.chat("Hello", model=second, max_tokens=2).json["usage"]["prompt_tokens"] < before


def test_a_name_that_is_taken_is_a_conflict(api: Running, second: str) -> None:
    answer = api.ask("PATCH", IMPORTED, {"aliases": {"add": ["new", "gpt-4"]}})
    assert answer.status == 409
    assert "smollm2-135m-instruct" in answer.json["error"]["message"]
    assert api.ask("GET", IMPORTED).json["aliases"] == ["another"]


@pytest.mark.parametrize("body", [{"aliases": {"add": ["a b"]}}, {"settings": {"slots": 0}}, {"name": "x"}])
def test_what_no_model_can_have_is_refused(api: Running, body: object) -> None:
    assert api.ask("PATCH", "/api/v1/models/smollm2-135m-instruct", body).status == 400


def test_layers_for_a_gpu_that_is_not_there_are_refused(
    api: Running, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def patch(settings: dict[str, int]) -> Response:
        return api.ask("PATCH", IMPORTED, {"settings": settings})

    monkeypatch.setattr(Library, "has_gpu", False)
    refused = patch({"gpu_layers": 20})
    assert (refused.status, refused.json["error"]["details"]["field"]) == (422, "settings.gpu_layers")
    assert "GPU" in refused.json["error"]["message"]
    monkeypatch.setattr(Library, "has_gpu", True)
    assert patch({"gpu_layers": 20}).json["settings"]["gpu_layers"] == 20
    # the file came to a machine without one
    monkeypatch.setattr(Library, "has_gpu", False)
    api.ask("POST", f"{IMPORTED}/unload")
    failed = api.ask("POST", f"{IMPORTED}/load")
    assert (failed.status, failed.json["error"]["code"]) == (503, "model_failed")
    assert "GPU" in failed.json["error"]["message"]
    assert patch({}).status == 200
    assert api.ask("POST", f"{IMPORTED}/load").json["status"] == "loaded"


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "all-minilm-l6-v2"])
def test_what_comes_with_the_program_is_not_removed(api: Running, name: str) -> None:
    answer = api.ask("DELETE", f"/api/v1/models/{name}")
    assert answer.status == 409
    assert api.ask("GET", f"/api/v1/models/{name}").status == 200


def test_only_administrators_change_models(api: Running) -> None:
    key = api.make_user("no-admin@example.org")
    for method, path, body in (
        ("POST", "/api/v1/models", {"file": "x.gguf"}),
        ("PATCH", "/api/v1/models/gpt-4", {"pinned": True}),
        ("DELETE", "/api/v1/models/gpt-4", None),
        ("POST", "/api/v1/models/gpt-4/load", None),
        ("POST", "/api/v1/models/gpt-4/unload", None),
    ):
        answer = api.ask(method, path, body, key=key)
        assert (answer.status, answer.json["error"]["details"]) == (403, {"permission": "models:write"})


@pytest.mark.parametrize(
    "content", [b"", b"this is no model at all, nor anything like it", CHAT.read_bytes()[:5_000_000]]
)
def test_a_file_that_is_no_whole_model_is_422_and_the_process_goes_on(api: Running, content: bytes) -> None:
    (imports(api) / "bad.gguf").write_bytes(content)
    answer = api.ask("POST", "/api/v1/models", {"file": "bad.gguf"})
    assert answer.status == 422
    assert str(imports(api)) not in answer.json["error"]["message"]
    (imports(api) / "bad.gguf").unlink()
    assert api.ask("GET", "/healthz").status == 200


def test_a_path_is_no_name(api: Running) -> None:
    for name in ("../secureai.db", "/etc/passwd", ".hidden"):
        answer = api.ask("POST", "/api/v1/models", {"file": name})
        assert (answer.status, answer.json["error"]["details"]["field"]) == (400, "file")
