from __future__ import annotations

from pathlib import Path

import pytest

from secureai_appliance.store import Store
from tests.support.clock import FakeClock
from tests.support.following import Followed


@pytest.fixture
def followed(store: Store, clock: FakeClock, tmp_path: Path) -> Followed:
    return Followed(store, clock, tmp_path)
