"""Requests on webhooks, each made to succeed once on a running appliance, for the audit test."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.recipes import Recipe, on
from tests.support.running import Response, Running

# nobody listens there: what is sent fails at once
WEBHOOK = {"url": "http://127.0.0.1:9/hook", "events": ["chat.created"]}


def made(api: Running) -> str:
    """The path of a new webhook."""
    return f"/api/v1/webhooks/{api.ask('POST', '/api/v1/webhooks', WEBHOOK).json['id']}"


def _redelivered(api: Running) -> Callable[[], Response]:
    delivery = api.ask("POST", f"{made(api)}/test").json["id"]
    return lambda: api.ask("POST", f"/api/v1/webhooks/deliveries/{delivery}/redeliver")


RECIPES: dict[str, tuple[str, Recipe]] = {
    "POST /api/v1/webhooks": (
        "webhook.created",
        lambda api: lambda: api.ask("POST", "/api/v1/webhooks", WEBHOOK),
    ),
    "PATCH /api/v1/webhooks/{id}": ("webhook.updated", on(made, "PATCH", body={"description": "changed"})),
    "DELETE /api/v1/webhooks/{id}": ("webhook.deleted", on(made, "DELETE")),
    "POST /api/v1/webhooks/{id}/test": ("webhook.tested", on(made, "POST", "/test")),
    "POST /api/v1/webhooks/{id}/rotate-secret": ("webhook.secret_rotated", on(made, "POST", "/rotate-secret")),
    "POST /api/v1/webhooks/deliveries/{id}/redeliver": ("webhook_delivery.repeated", _redelivered),
}
