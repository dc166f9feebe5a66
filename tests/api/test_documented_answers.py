"""The examples of the guide's chapter on answers from documents, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.support.knowledge import ready
from tests.support.running import Running

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def test_every_example_works_one_after_the_other(api: Running) -> None:
    chapter = re.search(r"^## Answers from documents\n(.*?)^## ", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert chapter is not None
    block = re.search(r"```sh\n(.*?)```", chapter[1], re.DOTALL)
    assert block is not None
    environment = {**os.environ, "SERVER": api.appliance.address, "SECUREAI_KEY": api.key}
    answers = []
    for example in block[1].replace("\\\n", " ").splitlines():
        command = example.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (example, done.stdout, done.stderr)
        ready(api, "/api/v1/knowledge/garage-notes")
        answers.append(json.loads(done.stdout))
    base, document, answer = answers
    citation = answer["citations"][0]
    assert (citation["knowledge_base_id"], citation["document_id"]) == (base["id"], document["id"])
    assert citation["quote"] == "Brake fluid is changed every two years."
    assert answer["retrieval"]["outcome"] == "passages"
