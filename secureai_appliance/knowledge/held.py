"""A model that work in this room needs: loaded when it is needed, held while it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from secureai_appliance.core.errors import ServiceUnavailable

if TYPE_CHECKING:
    from secureai_appliance.models.catalogue import ModelRow
    from secureai_appliance.models.handle import Handle, Loaded
    from secureai_appliance.models.registry import Models

_LOOK_SECONDS = 0.5
_LONGEST_WAIT = 120


@contextmanager
def held(
    models: Models,
    row: ModelRow,
    opened: Callable[[ModelRow], Handle],
    abandoned: Callable[[], bool] = lambda: False,
) -> Iterator[Loaded]:
    """The model, kept in memory until the `with` ends. Raises UnprocessableEntity, ServiceUnavailable."""
    handle = opened(row)
    with models.held(row):
        for _ in range(round(_LONGEST_WAIT / _LOOK_SECONDS)):
            if (loaded := handle.wait(_LOOK_SECONDS)) is not None:
                yield loaded
                return
            if abandoned():
                raise ServiceUnavailable("Nobody waits for the model any more.", retry_after=1)
        raise ServiceUnavailable(f"The model '{row.id}' is still being loaded.", retry_after=5)
