"""Where things are: the data folder, and the files that come with the program."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from secureai_appliance.core.errors import StartupError


def assets() -> Path:
    """The folder of templates, styles and the model manifest: unpacked by the binary, else beside the package."""
    bundle = getattr(sys, "_MEIPASS", None)
    root = Path(bundle) if bundle else Path(__file__).resolve().parents[2]
    return root / "assets"


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/secureai`, by default `~/.local/share/secureai`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    # the XDG specification: a path that is not absolute is to be ignored
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "secureai"


@dataclass(frozen=True)
class DataFolder:
    """Every path inside one data folder. Everything the appliance keeps is below `root`."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "secureai.db"

    @property
    def master_key(self) -> Path:
        return self.root / "master.key"

    @property
    def lock(self) -> Path:
        return self.root / "serve.lock"

    @property
    def first_start(self) -> Path:
        return self.root / "first-start.txt"

    @property
    def config(self) -> Path:
        return self.root / "secureai.toml"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def imported(self) -> Path:
        """Models that an administrator imported; below `models`."""
        return self.models / "imported"

    @property
    def import_(self) -> Path:
        """Where an administrator puts files that are to be imported."""
        return self.root / "import"

    @property
    def uploads(self) -> Path:
        """Files that come in parts."""
        return self.root / "uploads"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    def create(self) -> None:
        """Make the folder and its subfolders, readable by the owner alone (0700). Raises StartupError."""
        try:
            for folder in (self.root, self.models, self.imported, self.import_, self.uploads, self.tmp):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as cause:
            raise StartupError(
                f"The data folder {self.root} can't be made or used ({cause.strerror}): choose another with --data DIR."
            ) from cause

    def empty_tmp(self) -> None:
        """Throw away what an earlier run left in the folder for temporary files."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir(mode=0o700, exist_ok=True)


def flush_to_disk(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
