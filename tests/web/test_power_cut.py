"""Promise 1 over HTTP: a key that was answered works after the power was cut at any moment."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from secureai_appliance.accounts import keys, users
from secureai_appliance.core.errors import AuthenticationError, StartupError
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.store import Store
from secureai_appliance.store.connection import Synchronous
from secureai_appliance.web.gateway import Gateway
from secureai_appliance.web.routes import route_table
from tests.support.audit import open_audited
from tests.support.clock import FakeClock
from tests.support.limits import lift_limits
from tests.support.vfs import Cut, PowerCutVFS
from tests.support.web import App, parts_on
from tests.support.web_routes import Behaviour

WRITERS = 8


def cuts_under_load(folder: Path, wanted: int, synchronous: Synchronous = "FULL") -> list[Cut[set[str]]]:
    """Pictures of the disk while 8 clients make keys; the witness of each is the secrets that were answered before."""
    answered: list[str] = []
    enough = threading.Event()

    def when(operation: int) -> bool:
        if len(vfs.cuts) >= wanted:
            enough.set()
            return False
        return len(answered) > WRITERS and operation % 37 == 0

    clock = FakeClock()
    with PowerCutVFS("power", witness=lambda: set(answered), when=when) as vfs:
        store = open_audited(folder / "secureai.db", clock, vfs=vfs.name, synchronous=synchronous)
        parts = parts_on(store, clock, DataFolder(folder))
        lift_limits(store, parts.configs)
        with store.transaction() as tx:
            user = users.create(tx, email="a@example.test", name="A", role="admin")
        lift_limits(store, parts.configs)
        app = App(Gateway(parts, route_table()), parts, Behaviour(), "", user.id)
        app.key = app.new_key()

        def work(writer: int) -> None:
            while not enough.is_set():
                made = app.call("POST", "/api/v1/keys", {"name": f"writer {writer}"})
                assert made.status == 201
                answered.append(made.json["key"])

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()
    return vfs.cuts


def refused_after(cut: Cut[set[str]], folder: Path) -> int:
    """How many of the answered keys don't let anybody in after a start on what the cut left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cut.write_to(folder)
    try:
        store = Store.open(folder / "secureai.db", clock=FakeClock(), synchronous="OFF")
    except StartupError:
        return len(cut.witness)
    try:
        assert store.integrity(quick=False) == []
        refused = 0
        with store.read() as db:
            for secret in cut.witness:
                try:
                    keys.authenticate(db, secret, int(FakeClock().now()))
                except AuthenticationError:
                    refused += 1
        return refused
    finally:
        store.close()


def test_every_answered_key_works_after_a_power_cut(tmp_path: Path) -> None:
    cuts = cuts_under_load(tmp_path, 10)
    assert [refused_after(cut, tmp_path / "after") for cut in cuts] == [0] * 10


@pytest.mark.soak
def test_every_answered_key_works_after_each_of_200_power_cuts(tmp_path: Path) -> None:
    cuts = cuts_under_load(tmp_path, 200)
    assert [refused_after(cut, tmp_path / "after") for cut in cuts] == [0] * 200


def test_the_harness_sees_the_keys_that_are_lost_without_syncs(tmp_path: Path) -> None:
    cuts = cuts_under_load(tmp_path, 10, synchronous="OFF")
    assert any(refused_after(cut, tmp_path / "after") for cut in cuts)
