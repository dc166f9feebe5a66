"""One model's weights in memory, shared by its vocabulary and its contexts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.inference.gguf import GgufInfo, read_gguf
from secureai_appliance.inference.library import Library, LoadFailure, load_library, recent_errors, without_paths

NO_GPU = "There is no GPU that this build of the engine can use: set 'gpu_layers' to 0."


class LoadedModel:
    """The weights, mapped from the file. Other threads may use them through `use` until `close` has returned."""

    def __init__(self, path: Path, *, gpu_layers: int = 0) -> None:
        """Load the file; blocks until done. Raises LoadFailure with llama.cpp's own reason."""
        self.library: Library = load_library()
        if gpu_layers and not self.library.has_gpu:
            raise LoadFailure(NO_GPU)
        self._changed = threading.Condition()
        self._users = 0
        self._closed = False
        parameters = self.library.api.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        recent_errors()
        self.pointer: Any = self.library.api.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.pointer:
            raise LoadFailure(f"The model can't be loaded: {_reason(path)}")

    @property
    def embedding_length(self) -> int:
        return int(self.library.api.llama_model_n_embd_out(self.pointer))

    @property
    def recurrent(self) -> bool:
        """Whether its memory of a sequence is a state instead of cells, in whole or in part."""
        api = self.library.api
        return bool(api.llama_model_is_recurrent(self.pointer) or api.llama_model_is_hybrid(self.pointer))

    @property
    def sliding_window(self) -> bool:
        """Whether it forgets tokens, so that a sequence can't be cut back to an earlier one."""
        return int(self.library.api.llama_model_n_swa(self.pointer)) > 0

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The pointer, which is not freed meanwhile. Raises ServiceUnavailable when the model is unloaded."""
        with self._changed:
            if self._closed:
                raise ServiceUnavailable("The model was unloaded; try again.", retry_after=1)
            self._users += 1
        try:
            yield self.pointer
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Free the weights, once nobody uses them. Contexts must have been freed before."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.wait_for(lambda: self._users == 0)
        self.library.api.llama_model_free(self.pointer)


def describe_model(path: Path) -> GgufInfo:
    """What the file says about itself. Raises LoadFailure."""
    try:
        return read_gguf(path)
    except OSError as cause:
        raise LoadFailure("The model file can't be read.") from cause
    except ValueError as cause:
        raise LoadFailure(str(cause)) from cause


def _reason(path: Path) -> str:
    """llama.cpp's first complaint: those after it only repeat that loading failed."""
    lines = [line.replace(str(path), "the file") for line in recent_errors()]
    return without_paths(lines[0]) if lines else "llama.cpp gave no reason."
