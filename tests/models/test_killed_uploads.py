"""A program that is killed while an upload comes in: what was answered is there, and the client goes on after it."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.client import Client
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.models import uploads
from secureai_appliance.web.route import PART
from tests.models.test_importing import LLAMA
from tests.support.audit import open_audited
from tests.support.clock import FakeClock
from tests.support.program import Serving
from tests.support.running import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"abcdefghijkl"

# answers one part, holds the second at a moment, says so, and waits to be killed
PROGRAM = """
import hashlib, os, pathlib, sys
from secureai_appliance.accounts import users
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.models import uploads
from tests.models.test_killed_uploads import CONTENT
from tests.support.audit import open_audited
from tests.support.clock import FakeClock

def hold(*_, **__):
    print("here", flush=True)
    sys.stdin.read()

folder, moment = DataFolder(pathlib.Path(sys.argv[1])), sys.argv[2]
store = open_audited(folder.database, FakeClock())
here = uploads.Uploads(store, folder)
body = uploads.UploadCreate(filename="a", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
with store.transaction() as tx:
    user = users.create(tx, email="ada@example.test", name="Ada", role="admin")
    caller = users.caller_of(tx, user.id)
    row = uploads.create(tx, folder, uploads.Bounds(1000, 1), caller, body)
row = here.append(caller, row, 0, CONTENT[:4])
if moment == "writing":
    os.fsync = hold
if moment == "written":
    here._move = hold
here.append(caller, row, 4, CONTENT[4:8])
hold()
"""


@pytest.mark.parametrize(("moment", "answered"), [("writing", 4), ("written", 4), ("answered", 8)])
def test_a_killed_program_has_what_was_answered_and_goes_on(
    tmp_path: Path, clock: FakeClock, moment: str, answered: int
) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    command = [sys.executable, "-c", PROGRAM, str(folder.root), moment]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.kill()

    store = open_audited(folder.database, clock)
    try:
        here = uploads.Uploads(store, folder)
        here.sweep()
        with store.read() as db:
            upload_id, user_id, offset = db.all("SELECT id, user_id, received_bytes FROM uploads")[0]
            caller = users.caller_of(db, user_id)
            row = uploads.find(db, caller, upload_id)
        assert offset == answered
        assert here.path(row).read_bytes()[:offset] == CONTENT[:offset]
        row = here.append(caller, row, offset, CONTENT[offset:])
        assert uploads.show(row).status == "complete"
        assert here.path(row).read_bytes() == CONTENT
    finally:
        store.close()


def test_a_killed_server_goes_on_with_an_upload_after_its_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    serving = start(data)
    try:
        key = serving.key
        client = Client(serving.address, key)
        body = {"filename": "a.gguf", "size": len(LLAMA), "sha256": hashlib.sha256(LLAMA).hexdigest()}
        path = f"/uploads/{client.ask('POST', '/uploads', body)['id']}"
        assert send(client, path, 0, 300) == 300
        with socket.create_connection(("127.0.0.1", int(serving.address.rpartition(":")[2]))) as line:
            # half of the next part
            line.sendall(
                f"PATCH /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Type: {PART}\r\nUpload-Offset: 300\r\nContent-Length: 200\r\n\r\n".encode()
                + LLAMA[300:400]
            )
            serving.kill()
        serving = start(data)
        client = Client(serving.address, key)
        assert client.ask("GET", path)["offset"] == 300
        assert send(client, path, 300, len(LLAMA)) == len(LLAMA)
        assert client.ask("GET", path)["status"] == "complete"
        assert (data / path.removeprefix("/")).read_bytes() == LLAMA
    finally:
        serving.kill()


def start(data: Path) -> Serving:
    command = [sys.executable, "-m", "secureai_appliance", "serve"]
    return Serving.start([*command, "--data", str(data), "--port", "0", "--threads", "1"])


def send(client: Client, path: str, first: int, last: int) -> int:
    """The offset that is answered."""
    headers = {"Content-Type": PART, "Upload-Offset": str(first)}
    return int(client.send("PATCH", path, LLAMA[first:last], headers, timeout=PATIENCE)["offset"])
