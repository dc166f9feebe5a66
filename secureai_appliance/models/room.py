"""The memory that all models share: what each was predicted to take, and the bound of the sum."""

from __future__ import annotations

import threading
from collections.abc import Callable

from secureai_appliance.inference.library import LoadFailure


class NoRoom(LoadFailure):
    """The model would fit, but what is in memory is in use or pinned."""


class Room:
    """Who has taken how many bytes of `budget`. Safe to use from any thread."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._taken: dict[str, int] = {}
        # reentrant: what makes room gives its bytes back while `take` waits for them
        self._lock = threading.RLock()

    def take(self, model_id: str, need: int, make_room: Callable[[], bool]) -> None:
        """Take `need` bytes for a model. `make_room` is called until they are free; it says whether it freed any.

        Raises LoadFailure when the model is larger than the budget, NoRoom when not enough can be freed now.
        """
        with self._lock:
            self._taken.pop(model_id, None)
            if need > self._budget:
                raise LoadFailure(
                    f"The model needs about {_gigabytes(need)} of memory, and models may take"
                    f" {_gigabytes(self._budget)} together (the option model_memory)."
                )
            while (used := sum(self._taken.values())) + need > self._budget:
                if not make_room():
                    raise NoRoom(
                        f"The model '{model_id}' needs about {_gigabytes(need)} of memory; {_gigabytes(used)} of"
                        f" {_gigabytes(self._budget)} are taken by models that are in use or pinned:"
                        f" {', '.join(sorted(self._taken))}."
                    )
            self._taken[model_id] = need

    def give_back(self, model_id: str) -> None:
        """The model is out of memory."""
        with self._lock:
            self._taken.pop(model_id, None)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
