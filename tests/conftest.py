"""Fixtures that every room's tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.store import Store
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """A new file."""
    opened = Store.open(tmp_path / "secureai.db", clock=clock)
    yield opened
    opened.close()
