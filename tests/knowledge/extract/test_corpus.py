"""Every file of a corpus gives the sentence that is expected of it, or fails with the code that is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from secureai_appliance.knowledge.extract.extracted import Unreadable
from secureai_appliance.knowledge.extract.reading import extract
from tests.support import documents

EXPECTED = Path(__file__).parents[2] / "data" / "documents" / "expected.tsv"
ROWS = list(csv.DictReader(EXPECTED.open(encoding="utf-8"), delimiter="\t"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return documents.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_file_gives_what_is_expected_of_it(row: dict[str, str], folder: Path) -> None:
    path = folder / row["file"]
    if row["code"]:
        with pytest.raises(Unreadable) as failure:
            extract(path, path.name)
        assert failure.value.code == row["code"]
        assert str(folder) not in failure.value.message
        return
    found = extract(path, path.name)
    assert row["finds"] in " ".join(found.text.split())
    ends = 0
    for block in found.blocks:
        assert ends <= block.start < block.end <= len(found.text)
        assert found.text[block.start : block.end].strip()
        ends = block.end


def test_every_file_of_the_corpus_is_named(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {row["file"] for row in ROWS}
