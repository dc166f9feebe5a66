"""The packaged program on a machine with nothing else installed."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PyInstaller.archive.readers import CArchiveReader

from tests.support.documents import corpus
from tests.support.knowledge import BOUNDARY, form
from tests.support.program import NOBODY, PROGRAM, ROOT, Machine, Serving

pytestmark = pytest.mark.binary

_SOURCES = ("secureai_appliance", "assets", "packaging", "secureai.spec", "pyproject.toml")


def _newest_source() -> float:
    files = [path for name in _SOURCES for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    return max(path.stat().st_mtime for path in files if path.suffix not in (".pyc", ".gguf"))


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """dist/secureai, made from what is in the checkout now."""
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < _newest_source():
        subprocess.run(["sh", str(ROOT / "packaging" / "build.sh")], check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine.make(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def serving(machine: Machine) -> Iterator[Serving]:
    """A first start."""
    running = machine.serve(_free_port())
    yield running
    if running.process.poll() is None:
        running.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _post(serving: Serving, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {serving.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(serving.address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        decoded: dict[str, Any] = json.load(answer)
        return decoded


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_the_printed_curl_line_is_answered_with_text(serving: Serving) -> None:
    # a model as small as this one can talk for minutes; nothing else of the line is changed
    command = serving.curl if "max_tokens" in serving.curl else serving.curl.replace("{", '{"max_tokens": 32, ', 1)
    answered = subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True, timeout=120)
    assert json.loads(answered.stdout)["choices"][0]["message"]["content"].strip()


def test_embeddings_agree_with_those_of_the_model_it_was_made_from(serving: Serving) -> None:
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    answer = _post(serving, "/api/v1/embeddings", {"model": "all-minilm-l6-v2", "input": texts})
    happy, happier, sunny = [row["embedding"] for row in answer["data"]]
    assert _cosine(happy, happier) == pytest.approx(0.943, abs=0.005)
    assert _cosine(happy, sunny) == pytest.approx(0.257, abs=0.01)


def test_it_runs_as_an_ordinary_user_and_keeps_its_data_to_itself(machine: Machine, serving: Serving) -> None:
    assert serving.process.poll() is None
    if machine.isolated:
        status = Path(f"/proc/{serving.process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{NOBODY}\s+{NOBODY}", status, re.MULTILINE)
    assert machine.data.stat().st_mode & 0o777 == 0o700


def test_its_pages_came_along(serving: Serving) -> None:
    with urllib.request.urlopen(serving.address + "/docs", timeout=30) as answer:
        assert b"/api/v1/chat/completions" in answer.read()


def test_commands_work_beside_the_running_program(machine: Machine, serving: Serving) -> None:
    made = machine.run("key", "create", "--user", "admin@localhost", "--name", "second", "--data", machine.data_inside)
    assert made.returncode == 0, made.stderr
    request = urllib.request.Request(
        serving.address + "/api/v1/models", headers={"Authorization": f"Bearer {made.stdout.strip()}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert {model["id"] for model in json.load(answer)["data"]} >= {"smollm2-135m-instruct", "all-minilm-l6-v2"}


def test_a_second_program_on_the_same_data_ends_with_3(machine: Machine, serving: Serving) -> None:
    second = machine.run("serve", "--data", machine.data_inside, "--port", str(_free_port()))
    assert second.returncode == 3, serving.printed
    assert len(second.stderr.strip().splitlines()) == 1


def test_sigterm_ends_it_with_0_and_a_second_start_copies_no_model_again(tmp_path: Path) -> None:
    machine = Machine.make(tmp_path)
    first = machine.serve(_free_port())
    before = {path.name: _identity(path) for path in machine.data.glob("models/*.gguf")}
    assert len(before) == 2
    assert first.stop() == 0
    second = machine.serve(_free_port())
    assert {path.name: _identity(path) for path in machine.data.glob("models/*.gguf")} == before
    assert second.stop() == 0
    print(f"ready after {first.ready_after:.2f} s at the first start, {second.ready_after:.2f} s at the second")


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def test_a_temporary_folder_that_forbids_programs_gives_one_line_that_names_it(machine: Machine) -> None:
    if not machine.isolated:
        pytest.skip("only root can mount such a folder")
    refused = machine.run("version", tmp="noexec")
    assert refused.returncode != 0
    (line,) = refused.stderr.strip().splitlines()
    assert "/tmp/_MEI" in line


def test_nothing_of_the_tests_or_of_installing_is_inside() -> None:
    archive = CArchiveReader(str(PROGRAM))
    names = [*archive.toc, *archive.open_embedded_archive("PYZ.pyz").toc]
    packages = {re.split(r"[./]", name)[0] for name in names}
    assert {"secureai_appliance", "llama_cpp", "bottle"} <= packages
    assert not packages & {"pytest", "hypothesis", "openai", "pip", "setuptools", "tkinter", "mypy", "selenium"}


def test_it_asks_for_no_newer_c_library_than_this_machine_has() -> None:
    command = [sys.executable, str(ROOT / "packaging" / "glibc_floor.py")]
    floor = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    here = platform.libc_ver()[1]
    assert tuple(map(int, floor.split("."))) <= tuple(map(int, here.split(".")[:2]))


def test_the_file_is_for_everyone_to_start() -> None:
    assert os.access(PROGRAM, os.X_OK)
    assert PROGRAM.stat().st_mode & 0o005 == 0o005


def _upload(serving: Serving, path: str, file: Path) -> dict[str, Any]:
    headers = {
        "Authorization": f"Bearer {serving.key}",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }
    body = form((file.name, file.read_bytes(), ""))
    with urllib.request.urlopen(urllib.request.Request(serving.address + path, body, headers), timeout=60) as answer:
        decoded: dict[str, Any] = json.load(answer)
        return decoded


def _get(serving: Serving, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {serving.key}"}
    with urllib.request.urlopen(urllib.request.Request(serving.address + path, headers=headers), timeout=60) as answer:
        decoded: dict[str, Any] = json.load(answer)
        return decoded


def test_files_of_every_kind_are_read_and_found_or_fail_with_their_code(serving: Serving, tmp_path: Path) -> None:
    """The program reads them in a child of its own: the libraries for all formats came along."""
    folder = corpus(tmp_path)
    base = f"/api/v1/knowledge/{_post(serving, '/api/v1/knowledge', {'name': 'every kind'})['id']}"
    expected = Path(__file__).parents[1] / "data" / "documents" / "expected.tsv"
    rows = list(csv.DictReader(expected.open(encoding="utf-8"), delimiter="\t"))
    # the same bytes come into a base once
    rows = [row for row in rows if row["file"] != "sheet-called.pdf"]
    made = {row["file"]: _upload(serving, f"{base}/documents", folder / row["file"])["id"] for row in rows}
    until = time.monotonic() + 180
    while _get(serving, base)["status"] != "ready":
        assert time.monotonic() < until
        time.sleep(0.2)
    for row in rows:
        shown = _get(serving, f"{base}/documents/{made[row['file']]}")
        assert (shown["error"] or {"code": ""})["code"] == row["code"], (row["file"], shown["error"])
        if not row["code"]:
            asked = {"query": row["finds"], "filter": {"document_ids": [shown["id"]]}, "per_document": 20, "top_k": 20}
            hits = _post(serving, f"{base}/search", asked)["data"]
            assert row["finds"] in " ".join(" ".join(hit["text"].split()) for hit in hits), row["file"]
