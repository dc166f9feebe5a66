"""How a model file gets into memory, with the figures of the boot options and the model's own settings."""

from __future__ import annotations

from pathlib import Path

from secureai_appliance.inference.core_budget import CoreBudget
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.engine import DEFAULT_CONTEXT, Engine, EngineOptions
from secureai_appliance.inference.gguf import Kind
from secureai_appliance.inference.library import LoadFailure
from secureai_appliance.inference.memory import available_memory, predict
from secureai_appliance.inference.model import describe_model
from secureai_appliance.inference.pooled import PooledOptions, sizes
from secureai_appliance.inference.reranker import Reranker, RerankerOptions
from secureai_appliance.inference.template import ChatTemplate
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.models.registry import Loaded, Loader
from secureai_appliance.settings import Settings

_MEGABYTE = 1_000_000
_DEFAULT_SHARE = 0.7


def memory_budget(settings: Settings) -> int:
    """Bytes that all models may take together: the boot option, or most of what is free when the program starts."""
    return settings.model_memory * _MEGABYTE or int(available_memory() * _DEFAULT_SHARE)


def loader(settings: Settings, cores: CoreBudget | None = None) -> Loader:
    """The real thing: llama.cpp in this process, after a probe in a process of its own. All models share `cores`."""
    cores = cores or CoreBudget(settings.threads or None)

    def load(path: Path, row: ModelRow) -> Loaded:
        if row.kind == "embedding":
            return Embedder(path, _embedder_options(settings), cores)
        if row.kind == "rerank":
            return Reranker(path, _reranker_options(settings), cores)
        engine = Engine(path, _engine_options(settings, row), cores=cores)
        if row.settings.chat_template is not None:
            _override_template(engine, row.settings.chat_template)
        return engine

    def need(path: Path, row: ModelRow) -> int:
        return _predict(path, row, settings)

    return Loader(_build, _probe, need, load)


def _build() -> str:
    from secureai_appliance.inference.library import build_id

    return build_id()


def _probe(path: Path, kind: Kind) -> str | None:
    from secureai_appliance.inference.probe import probe

    result = probe(path, kind)
    return None if result.ok else result.reason


def _embedder_options(settings: Settings) -> PooledOptions:
    return PooledOptions(threads=settings.threads or None)


def _reranker_options(settings: Settings) -> RerankerOptions:
    return RerankerOptions(threads=settings.threads or None)


def _engine_options(settings: Settings, row: ModelRow) -> EngineOptions:
    own = row.settings
    return EngineOptions(
        context_length=own.context_length or settings.context_length,
        slots=own.slots or settings.slots,
        max_waiting=settings.max_waiting,
        max_wait_seconds=settings.max_wait,
        threads=settings.threads or None,
        gpu_layers=own.gpu_layers or 0,
    )


def _predict(path: Path, row: ModelRow, settings: Settings) -> int:
    """Bytes, with the figures that the model's class takes. Raises LoadFailure for a file that makes no sense."""
    info = describe_model(path)
    if row.kind != "chat":
        pooled = _embedder_options(settings) if row.kind == "embedding" else _reranker_options(settings)
        return sizes(info, pooled)[1].total
    options = _engine_options(settings, row)
    context = min(options.context_length or DEFAULT_CONTEXT, info.context_length or DEFAULT_CONTEXT)
    return predict(info, 2 * context, options.prompt_chunk + options.slots, options.slots).total


def _override_template(engine: Engine, source: str) -> None:
    words = engine.vocabulary
    try:
        engine.template = ChatTemplate(source, words.bos_text, words.eos_text, words.control_texts)
    except ValueError as cause:
        engine.close()
        raise LoadFailure(str(cause)) from cause
