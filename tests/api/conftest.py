from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.running import Running, running


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One appliance for all tests of the API: the models are loaded once."""
    with running(tmp_path_factory.mktemp("api") / "data") as started:
        yield started
