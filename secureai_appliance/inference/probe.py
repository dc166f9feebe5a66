"""Trying a model in a process of its own before this one loads it: llama.cpp answers some files by aborting."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from secureai_appliance.core.errors import Failure
from secureai_appliance.core.worker import worker_command
from secureai_appliance.inference.gguf import Kind
from secureai_appliance.inference.library import without_paths

TIMEOUT = 120.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProbeResult:
    """Whether the model can be used; if not, a reason that can be shown (no path). `seconds` is how long it took."""

    ok: bool
    reason: str | None
    seconds: float


def probe(path: Path, kind: Kind, timeout: float = TIMEOUT) -> ProbeResult:
    """Load the file and decode, embed or score one token, in a child that is ended after `timeout` seconds."""
    begun = time.monotonic()
    child = subprocess.Popen(
        worker_command("probe-model", str(path), kind),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # without it, an abort starts a debugger to print a backtrace
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )
    try:
        output, errors = child.communicate(timeout=timeout)
        reason = _reason(child.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        reason = f"Loading the model took longer than {timeout:g} seconds."
    finally:
        child.kill()
        child.communicate()
    if reason is not None:
        reason = without_paths(reason.replace(str(path), "the file"))
    return ProbeResult(reason is None, reason, time.monotonic() - begun)


def main(arguments: list[str]) -> int:
    """The child: prints one line of JSON, `{"reason": null}` when the model can be used."""
    path, kind = Path(arguments[0]), arguments[1]
    # killed, the appliance can't end its child any more, and a damaged model may keep it busy for ever
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort is an answer here, not something to examine
    reason: str | None = None
    try:
        {"chat": _try_chat, "embedding": _try_embedding, "rerank": _try_rerank}[kind](path)
    except Failure as failure:
        reason = failure.message
    sys.stdout.write(json.dumps({"reason": reason}) + "\n")
    sys.stdout.flush()
    return 0


def _try_chat(path: Path) -> None:
    from secureai_appliance.inference.engine import Engine, EngineOptions
    from secureai_appliance.inference.generation import Finished, GenerationRequest
    from secureai_appliance.inference.sampling import Sampling

    engine = Engine(path, EngineOptions(context_length=256, kv_tokens=256, slots=1, threads=1))
    token = max(engine.vocabulary.bos, 0)
    # with a seed and not greedy: weights that give no probabilities are found out as well
    generation = engine.submit(GenerationRequest([token], max_tokens=1, sampling=Sampling(seed=1)))
    while not isinstance(event := generation.next(TIMEOUT), Finished):
        pass
    engine.close()
    if event.error is not None:
        raise event.error


def _try_embedding(path: Path) -> None:
    from secureai_appliance.inference.embedder import Embedder
    from secureai_appliance.inference.pooled import PooledOptions

    embedder = Embedder(path, PooledOptions(threads=1))
    embedder.embed([embedder.tokenize("a")])
    embedder.close()


def _try_rerank(path: Path) -> None:
    from secureai_appliance.inference.reranker import Reranker, RerankerOptions

    reranker = Reranker(path, RerankerOptions(threads=1))
    reranker.score(reranker.pairs("a", ["b"]))
    reranker.close()


def _reason(code: int, output: str, errors: str) -> str | None:
    if code < 0:
        return f"The model file made llama.cpp end the process ({signal.Signals(-code).name}): {_last_words(errors)}"
    try:
        answer = json.loads(output.strip().splitlines()[-1])["reason"]
    except (LookupError, ValueError, TypeError):
        return f"The model could not be tried (exit code {code}): {_last_words(errors)}"
    return None if answer is None else str(answer)


def _last_words(errors: str) -> str:
    """The line of the child's log that says why: an assertion or an error if there is one, else the last."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"ASSERT|error|what\(\)", line, re.IGNORECASE)]
    return without_paths((telling or lines or ["it said nothing"])[-1])[:300]
