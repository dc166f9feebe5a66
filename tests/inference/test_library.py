"""llama.cpp is loaded late, quietly, and from our own folder only."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from secureai_appliance.inference.engine import Engine
from secureai_appliance.inference.library import build_id, cpu_variant, without_paths


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_the_room_loads_neither_llama_cpp_nor_numpy() -> None:
    result = run(
        "import sys\n"
        "import secureai_appliance.inference.engine, secureai_appliance.inference.embedder\n"
        "import secureai_appliance.inference.probe\n"
        "sys.exit('numpy' in sys.modules or 'llama_cpp' in sys.modules)"
    )
    assert result.returncode == 0, result.stderr


def test_libraries_named_by_the_environment_are_not_loaded() -> None:
    result = run(
        "from secureai_appliance.inference.library import cpu_variant\nprint(cpu_variant())",
        LLAMA_CPP_LIB_PATH="/nowhere",
        GGML_BACKEND_PATH="/nowhere/libevil.so",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == cpu_variant()


def test_loading_a_model_writes_nothing_to_the_terminal() -> None:
    result = run(
        "from secureai_appliance.inference.engine import Engine\n"
        "from tests.support.models import CHAT\n"
        "assert Engine(CHAT).close()"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_fingerprint_names_build_and_model(chat_engine: Engine) -> None:
    assert build_id().endswith(cpu_variant())
    assert chat_engine.fingerprint.startswith(build_id() + "-")
    assert len(chat_engine.fingerprint) == len(build_id()) + 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("failed to open '/home/x/model.gguf'", "failed to open 'model.gguf'"),
        ("/tmp/a/b/ggml.c:12: GGML_ASSERT(a / b)", "ggml.c:12: GGML_ASSERT(a / b)"),
        ("and/or 3/4", "and/or 3/4"),
    ],
)
def test_paths_are_cut_out_of_messages(text: str, expected: str) -> None:
    assert without_paths(text) == expected
