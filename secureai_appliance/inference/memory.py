"""Whether a model fits into memory, before it is tried: a process that runs out is killed, and with it everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secureai_appliance.inference.gguf import GgufInfo
from secureai_appliance.inference.library import LoadFailure

# the step's buffers: measured 27 MB for 30 layers of 576 at a batch of 256; they grow with batch and width
_BUFFERS = 48_000_000
_BUFFER_FLOATS_PER_ELEMENT = 24


@dataclass(frozen=True)
class MemoryNeed:
    """Predicted bytes: the weights, the KV cells of the context, and the buffers of a step."""

    weights: int
    kv: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.buffers


def predict(info: GgufInfo, kv_tokens: int, batch: int, outputs: int) -> MemoryNeed:
    """What a context of `kv_tokens` with steps of `batch` tokens and `outputs` logits a step will take."""
    activations = batch * info.embedding_length * _BUFFER_FLOATS_PER_ELEMENT * 4
    logits = 2 * outputs * info.vocabulary_size * 4
    return MemoryNeed(info.size_bytes, info.kv_bytes_per_token * kv_tokens, _BUFFERS + activations + logits)


def available_memory() -> int:
    """Bytes that this process may still take: the machine's, or its container's if that is less."""
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit = _cgroup_room()
    return available if limit is None else min(available, limit)


def require_memory(need: MemoryNeed, available: int) -> None:
    """Raises LoadFailure, with the figures, when `need` is more than `available` bytes."""
    if need.total > available:
        raise LoadFailure(
            f"The model needs about {_gigabytes(need.total)} of memory ({_gigabytes(need.weights)} weights, "
            f"{_gigabytes(need.kv)} context, {_gigabytes(need.buffers)} buffers) and {_gigabytes(available)} is free. "
            "Choose a smaller model or a shorter context."
        )


def _cgroup_room() -> int | None:
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        # the page cache counts as used but is given back under pressure
        statistics = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        reclaimable = int(statistics.get("inactive_file", 0)) + int(statistics.get("active_file", 0))
        return None if limit == "max" else max(0, int(limit) - used + reclaimable)
    except (OSError, ValueError):
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
