"""The servers that the engine's benchmarks ask, each in a process of its own: clients must not share its interpreter.

`python -m tests.bench.engine_servers SLOTS` is our appliance on a new folder until its input ends; it prints one line
of JSON with its address and the keys of two users.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.engine_client import BenchError, Target
from tests.support.models import CHAT
from tests.support.running import running

# KV cells for all slots: what our appliance takes for the bundled model
_CELLS = 16_384
_START_SECONDS = 60.0


@contextmanager
def ours(slots: int) -> Iterator[tuple[Target, Target]]:
    """Our appliance, as its administrator and as another user."""
    command = [sys.executable, "-m", "tests.bench.engine_servers", str(slots)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            yield Target("ours", told["base"], told["first"]), Target("ours", told["base"], told["second"])
        finally:
            process.stdin.close()
            process.wait()


@contextmanager
def llama_server(program: Path, threads: int, slots: int) -> Iterator[Target]:
    """llama-server with the bundled model."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"-m": CHAT, "-t": threads, "-np": slots, "-c": _CELLS, "--host": "127.0.0.1", "--port": port}
    command = [str(program), *(str(word) for option in options.items() for word in option)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_healthy(port, process)
        yield Target(f"llama-server -t {threads}", f"http://127.0.0.1:{port}/v1")
    finally:
        process.terminate()
        process.wait()


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    latest = time.monotonic() + _START_SECONDS
    while time.monotonic() < latest and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # it doesn't listen yet
        finally:
            connection.close()
        time.sleep(0.1)
    raise BenchError("llama-server did not start.")


def _serve(slots: int) -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data", threads=0, slots=slots) as api:
        second = api.make_user("second@example.com", role="admin")
        print(json.dumps({"base": api.base_url, "first": api.key, "second": second}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
