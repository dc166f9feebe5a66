"""How a model file gets into memory, with the figures of the boot options."""

from __future__ import annotations

from pathlib import Path

from secureai_appliance.inference.embedder import Embedder, EmbedderOptions
from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.models.catalogue import Kind
from secureai_appliance.models.registry import Loaded, Loader
from secureai_appliance.settings import Settings


def loader(settings: Settings) -> Loader:
    """The real thing: llama.cpp in this process, after a probe in a process of its own."""

    def build() -> str:
        from secureai_appliance.inference.library import build_id

        return build_id()

    def probe(path: Path, kind: Kind) -> str | None:
        from secureai_appliance.inference.probe import probe as run

        result = run(path, kind)
        return None if result.ok else result.reason

    def load(path: Path, kind: Kind) -> Loaded:
        if kind == "embedding":
            return Embedder(path, EmbedderOptions(threads=settings.threads or None))
        return Engine(
            path,
            EngineOptions(
                context_length=settings.context_length,
                slots=settings.slots,
                max_waiting=settings.max_waiting,
                max_wait_seconds=settings.max_wait,
                threads=settings.threads or None,
            ),
        )

    return Loader(build, probe, load)
