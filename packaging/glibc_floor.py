"""Prints the oldest glibc that dist/secureai runs with: the newest symbol version that any part of it asks for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PyInstaller.archive.readers import CArchiveReader

PROGRAM = Path(__file__).resolve().parent.parent / "dist" / "secureai"


def glibc_floor(program: Path) -> tuple[int, int]:
    """Such as (2, 36)."""
    archive = CArchiveReader(str(program))
    parts = [archive.extract(name) for name in archive.toc if ".so" in name]
    versions = {found for part in parts for found in re.findall(rb"GLIBC_(\d+)\.(\d+)", part)}
    return max((int(major), int(minor)) for major, minor in versions)


if __name__ == "__main__":
    print("{}.{}".format(*glibc_floor(Path(sys.argv[1]) if len(sys.argv) > 1 else PROGRAM)))
