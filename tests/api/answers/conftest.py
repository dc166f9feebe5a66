from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secureai_appliance.core.ids import new_id
from secureai_appliance.knowledge.extract.reading import extract
from tests.support.knowledge import form, ready, upload_form
from tests.support.people import Person, person
from tests.support.running import Running
from tests.support.scripted import Scripted, scripted
from tests.support.scripted_model import Model, text
from tests.support.workshop import (
    HANDBOOK,
    letter,
    manual,
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Scripted, Model]]:
    model = Model()
    with scripted(model) as server:
        yield server, model


@pytest.fixture
def model(served: tuple[Scripted, Model]) -> Model:
    served[1].asked.clear()
    served[1].letters = 0
    served[1].say = lambda _: text("Every two years [1].")
    return served[1]


@pytest.fixture(scope="module")
def model_id(api: Running, served: tuple[Scripted, Model]) -> str:
    name = new_id("m").lower()
    remote = {"base_url": f"{served[0].url}/v1", "model": "theirs", "context_length": 8192}
    made = api.ask("POST", "/api/v1/models", {"name": name, "remote": remote})
    assert made.status == 201, made.body
    return name


@pytest.fixture(scope="module")
def ann(api: Running) -> Person:
    return person(api)


@pytest.fixture(scope="module")
def base(ann: Person) -> str:
    """The workshop's documents."""
    base_id = str(ann.make("/knowledge", {})["id"])
    files = form(
        ("manual.pdf", manual(), "application/pdf"),
        ("handbook.md", HANDBOOK.encode(), "text/markdown"),
        ("reminder.docx", letter(), "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    )
    assert upload_form(ann.api, f"/api/v1/knowledge/{base_id}/documents", files, key=ann.key).status == 201
    ready(ann.api, f"/api/v1/knowledge/{base_id}", ann.key)
    return base_id


@pytest.fixture(scope="module")
def originals(ann: Person, base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[Any]]]:
    """The text of each document and its blocks, read anew from its original, by document id."""
    found = {}
    for document in ann.ask("GET", f"/knowledge/{base}/documents").json["data"]:
        path = Path(tmp_path_factory.mktemp("originals")) / document["filename"]
        content = ann.ask("GET", f"/knowledge/{base}/documents/{document['id']}/content")
        path.write_bytes(content.body)
        read = extract(path, document["filename"], document["content_type"])
        found[document["id"]] = (read.text, read.blocks)
    return found
