"""llama.cpp in this process: loaded once, when the first model is, with the CPU variant that fits this machine.

Nothing here is imported at the appliance's start: llama_cpp and numpy cost a tenth of a second and 40 MB.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secureai_appliance.core.errors import ServiceUnavailable

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_loaded: Library | None = None
_errors = threading.local()

# where the build puts the CPU variants: beside llama_cpp (an installed wheel), or below the unpacked binary
_VARIANT_FOLDERS = ("bin", "llama_cpp/lib", "lib")
# both make the process load a library that somebody else named
_UNTRUSTED_VARIABLES = ("LLAMA_CPP_LIB_PATH", "GGML_BACKEND_PATH")


class LoadFailure(ServiceUnavailable):
    """A model, or llama.cpp itself, can't be loaded. The message says why, without a path."""


@dataclass(frozen=True)
class Library:
    """`api` is the module `llama_cpp.llama_cpp`; `variant` the CPU back end; `build` names both shortly."""

    api: Any
    variant: str
    build: str

    @property
    def has_gpu(self) -> bool:
        """Whether the build has a GPU back end and found a device for it."""
        return bool(self.api.llama_supports_gpu_offload())


def load_library() -> Library:
    """llama.cpp, loaded on the first call. Safe from any thread. Raises LoadFailure."""
    global _loaded  # noqa: PLW0603 - a shared library is loaded once per process, so is this
    with _lock:
        if _loaded is None:
            _loaded = _load()
        return _loaded


def cpu_variant() -> str:
    """The CPU back end that was chosen for this machine, such as `haswell`."""
    return load_library().variant


def build_id() -> str:
    """A short stable name of this llama.cpp build and its CPU variant, for `system_fingerprint`."""
    return load_library().build


def recent_errors() -> list[str]:
    """The error lines that llama.cpp logged on this thread since the last call, oldest first, without paths."""
    lines: list[str] = getattr(_errors, "lines", [])
    _errors.lines = []
    return lines


def without_paths(text: str) -> str:
    """`text` with every absolute path cut down to its last part."""
    return re.sub(r"(?<![\w.])/(?:[^\s/'\":]+/)+([^\s/'\":]*)", r"\1", text)


def _load() -> Library:
    for name in _UNTRUSTED_VARIABLES:
        os.environ.pop(name, None)
    try:
        import llama_cpp
        from llama_cpp import llama_cpp as api
    except (ImportError, OSError, RuntimeError) as cause:
        raise LoadFailure("llama.cpp can't be loaded on this machine.") from cause
    # the package's own callback writes to stderr: replace it before anything is logged
    api.llama_log_set(_callback(api), ctypes.c_void_p(0))
    folder = _variant_folder(Path(llama_cpp.__file__).parent.parent)
    if folder is not None:
        load_all = api._lib.ggml_backend_load_all_from_path
        load_all.argtypes, load_all.restype = [ctypes.c_char_p], None
        load_all(os.fsencode(folder))
    count_devices = api._lib.ggml_backend_dev_count
    count_devices.argtypes, count_devices.restype = [], ctypes.c_size_t
    if count_devices() == 0:
        raise LoadFailure("llama.cpp found no CPU back end for this machine.")
    api.llama_backend_init()
    variant = _loaded_variant()
    _log.info("llama-cpp-python %s, CPU variant %s", llama_cpp.__version__, variant)
    return Library(api, variant, f"llama-{llama_cpp.__version__}-{variant}")


def _variant_folder(installed: Path) -> Path | None:
    """The folder of the CPU variants; None when the back end is built into the library (a build for one machine)."""
    bundle = getattr(sys, "_MEIPASS", None)
    roots = [Path(bundle)] if bundle else [installed]
    for root in roots:
        for name in _VARIANT_FOLDERS:
            if any((root / name).glob("libggml-cpu-*.so")):
                return root / name
    return None


def _loaded_variant() -> str:
    match = re.search(r"libggml-cpu-([\w.-]+)\.so", Path("/proc/self/maps").read_text())
    return match.group(1) if match else "native"


_callbacks: list[Any] = []  # ctypes doesn't keep a callback alive, and C calls it until the process ends


def _callback(api: Any) -> Any:
    levels = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.ERROR}

    def write(level: int, text: bytes | None, _: Any) -> None:
        line = (text or b"").decode("utf-8", "replace").rstrip()
        if not line or level not in levels:
            return
        if levels[level] == logging.ERROR:
            lines = getattr(_errors, "lines", [])
            _errors.lines = [*lines[-19:], without_paths(line)]
        _log.log(levels[level], "%s", line)

    _callbacks.append(api.llama_log_callback(write))
    return _callbacks[-1]
