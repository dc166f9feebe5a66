"""The application on the machinery's own test routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secureai_appliance.accounts import passwords
from secureai_appliance.web.server import Server
from tests.support.clock import FakeClock
from tests.support.pages import CHEAP
from tests.support.web import App, app_on
from tests.support.web_client import serving


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost next to nothing: what they cost is measured elsewhere."""
    monkeypatch.setattr(passwords, "_MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "_PASSES", 1)
    monkeypatch.setattr(passwords, "_PARAMETERS", f"{CHEAP}p=4")


@pytest.fixture
def app(tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    with app_on(tmp_path, clock) as app:
        yield app


@pytest.fixture
def server(app: App) -> Iterator[Server]:
    with serving(app) as server:
        yield server
