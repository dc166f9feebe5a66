"""Metrics."""

from __future__ import annotations

from pathlib import Path

from secureai_appliance.settings import Settings
from secureai_appliance.web.metrics import Metrics, QueueDepth
from tests.support.clock import FakeClock
from tests.support.web import App, app_on


def test_requests_are_counted_by_template_and_never_by_path(app: App) -> None:
    app.call("GET", "/api/v1/things/a")
    app.call("GET", "/api/v1/things/b")
    app.call("BREW", "/anything")
    text = app.call("GET", "/metrics").body.decode()
    assert 'secureai_requests_total{method="GET",route="/api/v1/things/{id}",status="404"} 2.0' in text
    assert 'secureai_requests_total{method="OTHER",route="unmatched",status="501"} 1.0' in text
    assert 'secureai_errors_total{type="not_found"} 2.0' in text
    assert 'secureai_request_seconds_count{route="/api/v1/things/{id}"} 2.0' in text
    assert "secureai_requests_in_flight 1.0" in text


def test_queues_are_looked_at_when_they_are_asked_for() -> None:
    metrics = Metrics()
    depth = [QueueDepth("m", 1, 5)]
    metrics.watch_queues(lambda: depth)
    depth[0] = QueueDepth("m", 2, 7)
    assert b'secureai_model_requests{model="m",state="waiting"} 7.0' in metrics.render()


def test_metrics_need_the_permission_unless_they_are_public(app: App, tmp_path: Path, clock: FakeClock) -> None:
    assert app.call("GET", "/metrics", key=None).status == 401
    assert app.call("GET", "/metrics", key=app.new_key("keys:read")).status == 403
    folder = tmp_path / "public"
    folder.mkdir()
    with app_on(folder, clock, Settings(metrics_public=True)) as public:
        assert public.call("GET", "/metrics", key=None).status == 200
