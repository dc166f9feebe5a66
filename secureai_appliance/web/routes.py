"""Every route on one screen."""

# ruff: noqa: E501 (a row of the table is a line)

from __future__ import annotations

from functools import cache

from secureai_appliance.web import docs, health, openapi, static
from secureai_appliance.web.metrics import CONTENT_TYPE as METRICS_TYPE
from secureai_appliance.web.route import Access, Route

PUBLIC = Access.PUBLIC
HTML = "text/html; charset=utf-8"


@cache
def route_table() -> tuple[Route, ...]:
    """The table. OpenAPI, the documentation, the limits and the access test are made from it."""
    # fmt: off
    return (
        Route("GET", "/api/v1/openapi.json", openapi.show, PUBLIC, "This description, as OpenAPI 3.1", "Service", answer=dict),

        Route("GET", "/healthz", health.healthz, PUBLIC, "Is the process alive?", "Service", answer=health.Health, limit="none"),
        Route("GET", "/readyz", health.readyz, PUBLIC, "Can requests be served?", "Service", answer=health.Health, limit="none"),
        Route("GET", "/metrics", health.metrics, "metrics:read", "Metrics for Prometheus", "Service", public_if="metrics_public", content_type=METRICS_TYPE, limit="none"),

        Route("GET", "/docs", docs.show, PUBLIC, "This documentation", content_type=HTML, limit="none"),
        Route("GET", "/static/{file}", static.serve, PUBLIC, "Styles", query=static.Version, limit="none"),
    )
    # fmt: on
