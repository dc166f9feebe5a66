"""A process that writes until it is killed: `python -m tests.support.write_load DATABASE ROUND`.

Prints a line for each write that was answered: a name, as in `tests.support.rows`.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.store import Store, writer
from tests.support.rows import write_user

THREADS = 4


def main() -> None:
    path, prefix = sys.argv[1:]
    # often enough that kills fall into the writing back of the log as well
    writer.CHECKPOINT_PAGES = 30
    store = Store.open(Path(path), clock=SystemClock())

    def work(thread: int) -> None:
        for n in itertools.count():
            name = f"{prefix}-{thread}-{n}"
            write_user(store, name)
            os.write(1, f"{name}\n".encode())

    for thread in range(THREADS):
        threading.Thread(target=work, args=(thread,)).start()


if __name__ == "__main__":
    main()
