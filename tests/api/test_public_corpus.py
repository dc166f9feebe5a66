"""Files that nobody wrote for this project, through the whole product: found by their sentence, or failed rightly.

`SECUREAI_CORPUS` names a folder with `pdf/` (files of pypdf's tests), `office/` (of python-docx, python-pptx, docling)
and `tables/` (of the ICDAR 2013 table competition); without it this is skipped: the tests'
own corpus is read in `tests/knowledge/extract`.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from secureai_appliance.core.ids import random_text
from tests.support.knowledge import settled, upload_file
from tests.support.running import Running

BASES = "/api/v1/knowledge"
ROWS = list(
    csv.DictReader(
        (Path(__file__).parents[1] / "data" / "documents" / "public.tsv").open(encoding="utf-8"), delimiter="\t"
    )
)
CORPUS = os.environ.get("SECUREAI_CORPUS")
NOT_DOCUMENTS = ("LICENSE", "SOURCE")

pytestmark = pytest.mark.skipif(CORPUS is None, reason="SECUREAI_CORPUS names no folder of public files")


@pytest.fixture(scope="module")
def uploaded(api: Running) -> dict[tuple[str, str], tuple[str, Any]]:
    """By file and password: a base, and the document in it once nothing more happens to it."""
    made = [api.ask("POST", BASES, {"name": random_text(8)}).json["id"] for _ in range(2)]
    bases = [f"{BASES}/{base_id}" for base_id in made]
    paths = {}
    for row in ROWS:
        path = Path(CORPUS or "") / row["file"]
        # the same bytes come into a base once
        base = bases[0] if row["password"] else bases[1]
        given = {"password": row["password"]} if row["password"] else {}
        answer = upload_file(api, f"{base}/documents", path.read_bytes(), path.name, "", **given)
        assert answer.status == 201, answer.body
        paths[row["file"], row["password"]] = (base, f"{base}/documents/{answer.json['id']}")
    return {key: (base, settled(api, path)) for key, (base, path) in paths.items()}


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"] + (" with its password" if row["password"] else ""))
def test_a_public_file_is_found_by_its_sentence_or_fails_rightly(
    api: Running, uploaded: dict[tuple[str, str], tuple[str, Any]], row: dict[str, str]
) -> None:
    base, document = uploaded[row["file"], row["password"]]
    if row["code"]:
        assert (document["status"], document["error"]["code"]) == ("failed", row["code"])
        return
    assert document["status"] == "indexed", document["error"]
    for mode in ("keyword", "hybrid"):
        asked = {
            "query": row["finds"],
            "mode": mode,
            "filter": {"document_ids": [document["id"]]},
            "top_k": 20,
            "per_document": 20,
        }
        hits = api.ask("POST", f"{base}/search", asked).json["data"]
        assert row["finds"] in " ".join(plain(hit["text"]) for hit in hits)


def test_every_public_file_is_named() -> None:
    folder = Path(CORPUS or "")
    there = {
        str(path.relative_to(folder))
        for part in ("pdf", "office", "tables")
        for path in (folder / part).rglob("*")
        if path.is_file() and path.suffix != ".xml" and not path.name.startswith(NOT_DOCUMENTS)
    }
    assert there == {row["file"] for row in ROWS}
