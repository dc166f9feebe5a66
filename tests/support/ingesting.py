"""Ingest without a model: `python -m tests.support.ingesting FOLDER MOMENT` reads what waits, up to a moment.

At that moment it says `here` and waits to be killed. `-` is no moment: it says `done` at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.knowledge import embedding, index, jobs
from secureai_appliance.knowledge.extract import worker
from secureai_appliance.knowledge.ingest import Ingest
from secureai_appliance.knowledge.steps import Work
from secureai_appliance.store import Store
from tests.support.audit import open_audited

SEALER = Sealer(bytes(32))


class FastEmbedder(Embedder):
    """Vectors of the words' checksums: always the same, and in no time."""

    def __init__(self) -> None:
        self.max_tokens = 512
        self.dimension = 384

    def tokenize(self, text: str) -> list[int]:
        return [101, *(crc32(word.encode()) % 30_000 for word in text.split()), 102]

    def embed(self, inputs: Sequence[Sequence[int]], *_: Any, **__: Any) -> list[Any]:
        made = [np.random.default_rng(list(each)).normal(size=384).astype(np.float32) for each in inputs]
        return [vector / np.linalg.norm(vector) for vector in made]


class FastModels:
    """The model is always at hand."""

    def embedding(self, row: object) -> FastModels:
        return self

    def wait(self, timeout: float) -> Embedder:
        return FastEmbedder()

    def held(self, row: object) -> FastModels:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def ingester(store: Store, folder: Path) -> Ingest:
    """Reads what waits; files that are read lie in `folder`."""
    return Ingest(store, SystemClock(), FastModels(), SEALER, folder)  # type: ignore[arg-type]


def hold(*_: object, **__: object) -> None:
    print("here", flush=True)
    sys.stdin.read()


def before(module: Any, name: str) -> None:
    setattr(module, name, hold)


def after(module: Any, name: str, times: int = 1) -> None:
    real: Callable[..., Any] = getattr(module, name)
    left = times

    def then_hold(*given: Any, **named: Any) -> Any:
        nonlocal left
        result = real(*given, **named)
        left -= 1
        if left <= 0:
            hold()
        return result

    setattr(module, name, then_hold)


MOMENTS: dict[str, Callable[[], None]] = {
    "claimed": lambda: before(Work, "do"),
    "a child reads": lambda: before(worker, "_result"),
    "one file read": lambda: after(Work, "_read"),
    "all files read": lambda: before(Work, "_embed"),
    "in the middle of embedding": lambda: after(embedding, "vectors"),
    "embedded": lambda: after(Work, "_embed"),
    "attachments stored": lambda: after(Work, "_inside", 2),
    "chunks written": lambda: after(index, "put"),
    "second document's chunks written": lambda: after(index, "put", 2),
    "everything but the commit": lambda: after(jobs, "indexed", 2),
    "all done": lambda: after(Ingest, "work"),
    "-": lambda: None,
}


def main() -> None:
    folder = Path(sys.argv[1])
    MOMENTS[sys.argv[2]]()
    store = open_audited(folder / "secureai.db", SystemClock())
    work = ingester(store, folder / "tmp")
    # as a start does: leases of an earlier process are void
    with store.transaction() as tx:
        tx.run("UPDATE ingest_jobs SET leased_until = 0, lease = NULL WHERE lease IS NOT NULL")
    while work.work():
        pass
    store.close()
    print("done", flush=True)


if __name__ == "__main__":
    main()
