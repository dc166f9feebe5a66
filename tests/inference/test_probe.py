"""Models are tried in a child process: what ends it doesn't end us."""

from __future__ import annotations

import select
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from secureai_appliance.inference.probe import probe
from tests.support.models import CHAT, EMBEDDING


def damaged(folder: Path, key: bytes, value: int) -> Path:
    """The chat model with one number of its header changed."""
    data = bytearray(CHAT.read_bytes())
    at = data.index(key + struct.pack("<I", 4)) + len(key) + 4
    data[at : at + 4] = struct.pack("<I", value)
    path = folder / "damaged.gguf"
    path.write_bytes(data)
    return path


def test_the_bundled_models_pass() -> None:
    assert probe(CHAT, "chat").ok
    assert probe(EMBEDDING, "embedding").ok


def test_a_file_that_aborts_llama_cpp_is_reported_with_its_last_words(tmp_path: Path) -> None:
    result = probe(damaged(tmp_path, b"llama.block_count", 60_000), "chat")
    assert not result.ok
    assert result.reason is not None
    assert "SIGABRT" in result.reason
    assert "GGML_ASSERT" in result.reason
    assert "/" not in result.reason


def test_a_file_that_llama_cpp_refuses_is_reported_with_its_reason(tmp_path: Path) -> None:
    result = probe(damaged(tmp_path, b"llama.attention.head_count", 7), "chat")
    assert not result.ok
    assert result.reason is not None
    assert "error loading model" in result.reason
    assert str(tmp_path) not in result.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "not a GGUF"), (b"GGUF" + b"\xff" * 40, "version"), (None, "incomplete")],
    ids=["empty", "noise", "truncated"],
)
def test_a_file_that_is_no_model_is_refused(data: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    path.write_bytes(CHAT.read_bytes()[:2_000_000] if data is None else data)
    result = probe(path, "chat")
    assert not result.ok
    assert reason in (result.reason or "")


CHILD = """
import os, signal
from secureai_appliance.inference import probe
probe._try_chat = lambda path: (os.write(1, b"tries"), signal.pause())
probe.main(["x", "chat"])
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def test_a_child_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(5) == b"tries"
        parent.kill()
        ends = select.poll()
        ends.register(parent.stdout, 0)  # hung up once nobody can write to it any more
        assert ends.poll(10_000), "the child goes on"


def test_a_child_that_takes_too_long_is_ended() -> None:
    result = probe(CHAT, "chat", timeout=0.01)
    assert not result.ok
    assert "longer than 0.01 seconds" in (result.reason or "")
