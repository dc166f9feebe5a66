from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.limits import lift_limits
from tests.support.running import Running, running


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One appliance for all tests of the API: the models are loaded once."""
    # a short context: an answer without max_tokens ends there at the latest
    with running(tmp_path_factory.mktemp("api") / "data", context_length=1024) as started:
        yield started


@pytest.fixture(autouse=True, scope="module")
def no_limits(api: Running) -> None:
    """Each module starts with limits that no test reaches, whatever the one before has set."""
    lift_limits(api.appliance.store, api.appliance.configs)
