"""The application on the machinery's own test routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.support.web import App, app_on


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    with app_on(tmp_path, clock) as app:
        yield app
