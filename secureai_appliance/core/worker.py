"""Child processes that run our own code, from source and from the binary alike."""

from __future__ import annotations

import sys


def worker_command(name: str, *arguments: str) -> list[str]:
    """The command line that runs worker `name` in a process of its own (see `__main__`)."""
    program = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "secureai_appliance"]
    return [*program, "--worker", name, *arguments]
