"""Fixtures that every room's tests use."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secureai_appliance.inference.cores import usable_cores
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.engine import Engine, EngineOptions
from secureai_appliance.store import Store
from tests.support.audit import open_audited
from tests.support.clock import FakeClock
from tests.support.models import CHAT, EMBEDDING

MOST_WORKERS = 4  # each loads the models


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`-n auto`: a process on each core for all tests; none for those that were named, or whose output is wanted."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and config.option.capture != "no"
    return min(usable_cores(), MOST_WORKERS) if whole else 0


@pytest.fixture(autouse=True, scope="session")
def no_names_are_looked_up() -> Iterator[None]:
    """Nobody is asked for a name: webhooks of examples would be looked up for as long as a resolver takes."""
    look_up = socket.getaddrinfo

    def local(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:  # noqa: PLR0917
        if host not in {None, "", "localhost", b"localhost"}:
            flags |= socket.AI_NUMERICHOST
        return look_up(host, port, family, type, proto, flags)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", local)
        yield


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """A new file."""
    opened = open_audited(tmp_path / "secureai.db", clock)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def chat_engine() -> Iterator[Engine]:
    """The bundled chat model, loaded once for all tests."""
    # one thread: the tests share the machine, and threads that wait for each other are slow then
    engine = Engine(CHAT, EngineOptions(threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def embedder() -> Iterator[Embedder]:
    """The bundled embedding model, loaded once for all tests."""
    loaded = Embedder(EMBEDDING)
    yield loaded
    loaded.close()
