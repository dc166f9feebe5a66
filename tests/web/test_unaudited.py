"""A change that leaves no row in the audit log is a defect, and is undone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from secureai_appliance.web.gateway import Gateway
from tests.support.clock import FakeClock
from tests.support.web import app_on
from tests.support.web_routes import Behaviour, routes


@pytest.mark.parametrize(("reason", "status", "kept"), [("", 500, 0), ("of tests", 201, 1)])
def test_a_change_without_a_row_is_undone_unless_the_route_says_why(
    tmp_path: Path, clock: FakeClock, reason: str, status: int, kept: int
) -> None:
    does = Behaviour()
    with app_on(tmp_path, clock, does=does) as app:
        table = [dataclasses.replace(route, unaudited=reason) for route in routes(does)]
        app.gateway = Gateway(app.parts, table)
        with app.parts.store.read() as db:
            before = db.value("SELECT COUNT(*) FROM sign_in_links")
        assert app.call("POST", "/api/v1/things", {"name": "x"}).status == status
        with app.parts.store.read() as db:
            assert db.value("SELECT COUNT(*) FROM sign_in_links") == before + kept
