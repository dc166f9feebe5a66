"""A program that is killed in the middle of an import leaves the file where it was, or the model: nothing between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.core.paths import DataFolder
from secureai_appliance.models import catalogue
from secureai_appliance.models.importing import sweep
from tests.models.test_importing import LLAMA
from tests.support.audit import open_audited
from tests.support.clock import FakeClock

ROOT = Path(__file__).resolve().parents[2]

# holds the import at a moment, says so, and waits to be killed
PROGRAM = """
import pathlib, sys
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.models import importing
from secureai_appliance.models.registry import Loader
from tests.support.audit import open_audited
from tests.support.clock import FakeClock

folder, moment = DataFolder(pathlib.Path(sys.argv[1])), sys.argv[2]

def hold(*_, **__):
    print("here", flush=True)
    sys.stdin.read()

def copy_half(source, target):
    target.write_bytes(source.read_bytes()[:100])
    hold()

probe = hold if moment == "probing" else lambda path, kind: None
if moment == "copying":
    importing._second_name = copy_half
if moment == "named":
    importing.flush_to_disk = hold
if moment == "entered":
    unlink = pathlib.Path.unlink
    pathlib.Path.unlink = lambda path, **how: hold() if path.parent == folder.import_ else unlink(path, **how)
store = open_audited(folder.database, FakeClock())
loader = Loader(lambda: "build-1", probe, None, None)
importing.Importer(store, folder, loader).run(importing.ModelImport(file="tiny.gguf"))
"""


@pytest.mark.parametrize("moment", ["probing", "copying", "named", "entered"])
def test_a_killed_import_leaves_the_file_or_the_model(tmp_path: Path, clock: FakeClock, moment: str) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    (folder.import_ / "tiny.gguf").write_bytes(LLAMA)
    command = [sys.executable, "-c", PROGRAM, str(folder.root), moment]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.kill()

    store = open_audited(folder.database, clock)
    try:
        sweep(store, folder)
        with store.read() as db:
            rows = catalogue.all_models(db)
    finally:
        store.close()
    assert [row.id for row in rows] == (["tiny"] if moment == "entered" else [])
    assert sorted(folder.imported.iterdir()) == [folder.models / row.file for row in rows]
    assert all((folder.models / row.file).read_bytes() == LLAMA for row in rows)
    assert (folder.import_ / "tiny.gguf").read_bytes() == LLAMA
