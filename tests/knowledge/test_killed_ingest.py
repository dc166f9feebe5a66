"""A program that is killed while it reads documents: the next finishes, no chunk is twice there or missing (P35)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.knowledge import bases, documents, indexes
from secureai_appliance.knowledge.bases import KnowledgeCreate
from secureai_appliance.knowledge.blobs import BlobWriter
from secureai_appliance.knowledge.documents import NewFile
from secureai_appliance.store import Store
from tests.support import documents as made
from tests.support.audit import open_audited
from tests.support.ingesting import MOMENTS, SEALER
from tests.support.knowledge import add_embedding_model
from tests.support.running import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ("a child reads", "in the middle of embedding", "everything but the commit")
Chunks = list[tuple[str, int, str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a base whose documents wait: long text, a PDF, an e-mail with an attachment."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "tmp").mkdir()
    files = tmp_path_factory.mktemp("files")
    store = open_audited(folder / "secureai.db", SystemClock())
    with store.transaction() as tx:
        model = add_embedding_model(tx)
        owner = users.caller_of(tx, users.create(tx, email="a@example.test", name="A", role="user").id)
        base = bases.create(tx, owner, KnowledgeCreate(name="base"), model).id
    text = "\n\n".join(f"Paragraph {number} is about part BP{number}." for number in range(200))
    new = [("long.txt", text.encode())]
    new += [(path.name, path.read_bytes()) for path in (made.mail(files), made.pdf(files), made.word(files))]
    for name, data in new:
        blob = BlobWriter(store)
        blob.write(data)
        with store.transaction() as tx:
            documents.add(tx, owner, base, [NewFile(name, "", blob)], sealer=SEALER, password=None)
    store.close()
    return folder


def copy(filled: Path, to: Path) -> Path:
    subprocess.run(["cp", "-r", str(filled), str(to)], check=True)
    return to


def start(folder: Path, moment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.ingesting", str(folder), moment]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )


def killed(folder: Path, moment: str) -> None:
    with start(folder, moment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL


def finish(folder: Path) -> None:
    with start(folder, "-") as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.stdout is not None
        assert child.stdout.readline() == "done\n"


def found(folder: Path) -> tuple[Chunks, dict[str, int], int]:
    """All chunks that can be found, the documents' own counts of them, and what there is of words and vectors."""
    store = open_audited(folder / "secureai.db", SystemClock())
    try:
        return _found(store)
    finally:
        store.close()


def _found(store: Store) -> tuple[Chunks, dict[str, int], int]:
    with store.read() as db:
        now = indexes.active(db, db.value("SELECT id FROM knowledge_bases"))
        chunks = db.all(
            "SELECT filename, position, text FROM chunks JOIN documents ON documents.id = document_id"
            " WHERE index_id = ? ORDER BY filename, position",
            now.row_id,
        )
        shown = dict(db.all("SELECT filename, chunk_count FROM documents"))
        words = db.value(f"SELECT COUNT(*) FROM {indexes.terms_table(now.row_id)}") if now.dimension else 0
        signs = db.value("SELECT COALESCE(SUM(size - dead), 0) FROM vector_blocks WHERE index_id = ?", now.row_id)
        vectors = db.value("SELECT COUNT(*) FROM chunk_vectors")
    assert words == signs == vectors == len(chunks)
    return [tuple(row) for row in chunks], shown, len(chunks)


def check_moment(filled: Path, whole: tuple[Chunks, dict[str, int], int], folder: Path, moment: str) -> None:
    copy(filled, folder)
    killed(folder, moment)
    chunks, shown, _ = found(folder)
    # each document is there with all of its chunks or with none
    for name, count in shown.items():
        assert len([chunk for chunk in chunks if chunk[0] == name]) == count
        assert count in {0, whole[1][name]}
    finish(folder)
    assert found(folder) == whole


@pytest.fixture(scope="module")
def whole(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Chunks, dict[str, int], int]:
    """What is found when nothing was killed."""
    folder = copy(filled, tmp_path_factory.mktemp("whole") / "data")
    finish(folder)
    result = found(folder)
    assert set(result[1]) > {"long.txt", "manual.pdf", "report.docx"}
    assert len(result[1]) == 6  # what is attached, too
    assert result[1]["long.txt"] > 3
    return result


@pytest.mark.parametrize("moment", DEFAULT)
def test_a_kill_leaves_each_document_whole_or_not_there(
    filled: Path, whole: tuple[Chunks, dict[str, int], int], tmp_path: Path, moment: str
) -> None:
    check_moment(filled, whole, tmp_path / "data", moment)


@pytest.mark.soak
@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment not in {*DEFAULT, "-"}])
def test_a_kill_at_every_other_moment_does_so_too(
    filled: Path, whole: tuple[Chunks, dict[str, int], int], tmp_path: Path, moment: str
) -> None:
    check_moment(filled, whole, tmp_path / "data", moment)


def test_the_child_that_reads_a_file_ends_with_the_program(filled: Path, tmp_path: Path) -> None:
    folder = copy(filled, tmp_path / "data")
    with start(folder, "a child reads") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        assert children
        descriptors = [os.pidfd_open(int(pid)) for pid in children]
        child.kill()
    for descriptor in descriptors:
        # readable once the process has ended
        assert select.select([descriptor], [], [], PATIENCE)[0]
        os.close(descriptor)
