"""`/webhooks`: other programs that are told of events, and how telling them went."""

from __future__ import annotations

from secureai_appliance.governance import deliveries, webhooks
from secureai_appliance.governance.deliveries import Delivery, DeliveryQuery
from secureai_appliance.governance.webhooks import Webhook, WebhookCreate, WebhookCreated, WebhookPatch
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


def index(request: Request[None, ListQuery]) -> Page[Webhook]:
    with request.parts.store.read() as db:
        return webhooks.list_(db, request.query)


def create(request: Request[WebhookCreate, None]) -> WebhookCreated:
    return webhooks.create(request.tx, request.parts.sealer, request.caller.actor, request.body)


def show(request: Request[None, None]) -> Webhook:
    with request.parts.store.read() as db:
        return webhooks.get(db, request.path["id"])


def update(request: Request[WebhookPatch, None]) -> Webhook:
    webhook_id = request.path["id"]
    require_match(request, webhooks.get(request.tx, webhook_id))
    return webhooks.patch(request.tx, request.caller.actor, webhook_id, request.body)


def delete(request: Request[None, None]) -> None:
    webhook_id = request.path["id"]
    require_match(request, webhooks.get(request.tx, webhook_id))
    webhooks.delete(request.tx, request.caller.actor, webhook_id)


def rotate_secret(request: Request[None, None]) -> WebhookCreated:
    return webhooks.rotate_secret(request.tx, request.parts.sealer, request.caller.actor, request.path["id"])


def test(request: Request[None, None]) -> Delivery:
    delivery_id = webhooks.send_test(request.tx, request.caller.actor, request.path["id"])
    return deliveries.get(request.tx, delivery_id)


def list_deliveries(request: Request[None, DeliveryQuery]) -> Page[Delivery]:
    with request.parts.store.read() as db:
        return deliveries.list_(db, request.path["id"], request.query)


def show_delivery(request: Request[None, None]) -> Delivery:
    with request.parts.store.read() as db:
        return deliveries.get(db, request.path["id"])


def redeliver(request: Request[None, None]) -> Delivery:
    return deliveries.redeliver(request.tx, request.caller.actor, request.path["id"])
