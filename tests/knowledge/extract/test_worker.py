"""A file is read in a process of its own: what breaks there breaks one document."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.core.worker import worker_command
from secureai_appliance.knowledge.extract import worker
from secureai_appliance.knowledge.extract.extracted import Limits, Unreadable
from secureai_appliance.knowledge.extract.worker import run
from tests.support import documents


def refusal(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(Unreadable) as failure:
        run(path, path.name, limits=limits)
    assert str(path.parent) not in failure.value.message
    return failure.value.code


def child_that(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the child do something else than read: `confine()` is in force."""
    program = (
        "import sys, os, time\nfrom secureai_appliance.knowledge.extract import child\n"
        f"def act(*a, **k):\n    {body}\nchild.extract = act\nsys.exit(child.main([]))"
    )
    monkeypatch.setattr(worker, "worker_command", lambda name: [sys.executable, "-c", program])


def test_a_file_comes_back_whole_with_its_attachments_and_progress(tmp_path: Path) -> None:
    path = documents.mail(tmp_path)
    shares: list[float] = []
    found = run(path, path.name, on_progress=shares.append)
    assert [each.filename for each in found.attachments] == ["crates.txt", "note.pdf"]
    pdf = documents.pdf(tmp_path)
    assert run(pdf, "x", on_progress=shares.append).page_count == 3
    assert shares
    assert all(0 <= share <= 1 for share in shares)


def test_what_the_reader_refuses_comes_back_as_its_code(tmp_path: Path) -> None:
    assert refusal(documents.encrypted_pdf(tmp_path, "key")) == "encrypted"


def test_a_bomb_ends_the_child_and_fails_the_document(tmp_path: Path) -> None:
    path = documents.bomb(tmp_path)
    assert refusal(path, Limits(memory=512 << 20, seconds=60)) == "resource_limit"
    assert refusal(path, Limits(unpacked=100 << 20)) == "too_large"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("os.abort()", "resource_limit"),
        ("os.kill(os.getpid(), 11)", "damaged"),
        ("os._exit(3)", "damaged"),
        ("bytearray(4 << 30)", "resource_limit"),
        ("time.sleep(600)", "timeout"),
        ("print('x' * 100_000); raise MemoryError", "resource_limit"),
    ],
)
def test_however_the_child_ends_there_is_a_code(
    body: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_that(body, monkeypatch)
    assert refusal(documents.rows(tmp_path), Limits(seconds=3.0)) == code


def test_a_child_that_only_computes_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that("while True: pass", monkeypatch)
    assert refusal(documents.rows(tmp_path), Limits(cpu_seconds=1)) == "timeout"


@pytest.mark.parametrize(
    "body",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import subprocess; subprocess.run(['true'])",
        "os.remove(a[0])",
        "open(str(a[0]) + '.new', 'w').write('x' * 10_000)",
    ],
)
def test_a_document_reaches_nothing_outside(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that(
        f"try:\n        {body}\n        code = 'no_text'\n    except OSError:\n        code = 'encrypted'\n"
        "    from secureai_appliance.knowledge.extract.extracted import Unreadable\n    raise Unreadable(code, '')",
        monkeypatch,
    )
    assert refusal(documents.rows(tmp_path)) == "encrypted"


def test_cancelling_ends_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child_that("time.sleep(600)", monkeypatch)
    asked = iter([False, False, True])
    with pytest.raises(Unreadable) as failure:
        run(documents.rows(tmp_path), "rows.csv", cancelled=lambda: next(asked))
    assert failure.value.code == "cancelled"


PARENT = (
    "import sys; from pathlib import Path\nfrom secureai_appliance.knowledge.extract import worker\n"
    "body = 'import os, time, sys\\nfrom secureai_appliance.knowledge.extract import child\\n'"
    "'child.extract = lambda *a, **k: (os.write(2, b\"reads\"), time.sleep(600))\\nchild.main([])'\n"
    "worker.worker_command = lambda name: [sys.executable, '-c', body]\n"
    "worker.subprocess.DEVNULL = None\n"
    "worker.run(Path(sys.argv[1]), 'x')\n"
)


def test_a_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    path = documents.rows(tmp_path)
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path)], stderr=subprocess.PIPE) as parent:
        assert parent.stderr is not None
        assert parent.stderr.read(5) == b"reads"
        parent.kill()
        ends = select.poll()
        ends.register(parent.stderr, 0)  # hung up once nobody can write to it any more
        assert ends.poll(10_000), "the child goes on"


def test_the_child_loads_nothing_of_the_service() -> None:
    program = (
        "import sys, json; import secureai_appliance.knowledge.extract.child; "
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('secureai_appliance.'))))"
    )
    output = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout
    rooms = {name.split(".")[1] for name in json.loads(output)}
    assert rooms == {"core", "knowledge"}
    assert worker_command("extract")[-1] == "extract"
