"""What the scheduler does: the jobs of all rooms, in one list."""

from __future__ import annotations

from secureai_appliance.accounts import keys, second_factors, sessions
from secureai_appliance.accounts.oauth import grants
from secureai_appliance.conversations import chats
from secureai_appliance.conversations.titles import EVERY_SECONDS as TITLES_SECONDS
from secureai_appliance.conversations.titles import Titles
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.jobs import Job
from secureai_appliance.governance import audit, deliveries, webhooks
from secureai_appliance.governance import usage as usages
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.courier import Courier
from secureai_appliance.governance.limits import PERSIST_SECONDS
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.governance.refusals import Refusals
from secureai_appliance.governance.usage import Usage
from secureai_appliance.knowledge import blobs, index, traces, vectors
from secureai_appliance.knowledge.following.watching import Watcher
from secureai_appliance.models.registry import Models
from secureai_appliance.models.uploads import Uploads
from secureai_appliance.store import Store, upkeep
from secureai_appliance.web import idempotency

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
DELIVERIES = "deliveries to webhooks"


def jobs(
    *,
    store: Store,
    clock: Clock,
    configs: Configs,
    quotas: Quotas,
    usage: Usage,
    refusals: Refusals,
    models: Models,
    uploads: Uploads,
    titles: Titles,
    courier: Courier,
    watcher: Watcher,
) -> list[Job]:
    """All of them. What takes long waits until the start is over."""
    return [
        Job(DELIVERIES, 1.0, courier.step),
        Job("counts of limits", PERSIST_SECONDS, quotas.persist, first=PERSIST_SECONDS),
        Job("counts of usage", PERSIST_SECONDS, usage.flush, first=PERSIST_SECONDS),
        Job("idle models", 10.0, models.unload_idle, first=10.0),
        Job("refusals for the audit log", 10.0, lambda: refusals.flush(store, clock.now()), first=10.0),
        Job("length of the log", MINUTE, lambda: upkeep.shorten_log(store), first=MINUTE),
        Job("expired sign-ins", HOUR, lambda: _expired_sign_ins(store, configs), first=MINUTE),
        Job("expired keys, tokens and answers", HOUR, lambda: _expired_credentials(store), first=2 * MINUTE),
        Job("indexes of no base", MINUTE, lambda: index.sweep(store), first=MINUTE),
        Job("small blocks of vectors", MINUTE, lambda: vectors.tidy(store), first=MINUTE),
        Job("files of no document", MINUTE, lambda: blobs.sweep(store), first=MINUTE),
        Job("watched folders", 5.0, watcher.step, first=5.0),
        Job("unfinished uploads", HOUR, uploads.sweep, first=MINUTE),
        Job("freed pages", HOUR, lambda: upkeep.give_back(store), first=5 * MINUTE),
        Job("retention of the audit log", DAY, lambda: _retain_audit(store, clock, configs), first=10 * MINUTE),
        Job("retention of usage", DAY, lambda: _retain_usage(store, clock, configs), first=10 * MINUTE),
        Job("retention of deliveries", DAY, lambda: _retain_deliveries(store, clock, configs), first=10 * MINUTE),
        Job("titles of chats", TITLES_SECONDS, titles.step, first=TITLES_SECONDS),
        Job("retention of chats", DAY, lambda: _retain_chats(store, clock, configs), first=10 * MINUTE),
        Job("retention of traces", DAY, lambda: _retain_traces(store, clock, configs), first=10 * MINUTE),
        Job("statistics of the file", DAY, lambda: upkeep.optimize(store), first=15 * MINUTE),
    ]


def _expired_sign_ins(store: Store, configs: Configs) -> None:
    lasting = sessions.lifetimes(configs)
    with store.transaction() as tx:
        sessions.sweep(tx, lasting)
        second_factors.sweep(tx)


def _expired_credentials(store: Store) -> bool:
    with store.transaction() as tx:
        webhooks.forget_previous(tx)
        return any([grants.sweep(tx, tx.wall()), keys.sweep(tx), idempotency.sweep(tx)])


def _retain_audit(store: Store, clock: Clock, configs: Configs) -> bool:
    days = configs.value("audit.retention_days")
    if not days:
        return False
    with store.transaction() as tx:
        return audit.retain(tx, int(clock.now() - days * DAY)) > 0


def _retain_chats(store: Store, clock: Clock, configs: Configs) -> bool:
    days = configs.value("chats.retention_days")
    if not days:
        return False
    with store.transaction() as tx:
        return chats.retain(tx, int(clock.now() - days * DAY)) > 0


def _retain_traces(store: Store, clock: Clock, configs: Configs) -> bool:
    with store.transaction() as tx:
        return traces.retain(tx, int(clock.now() - configs.value("knowledge.trace_days") * DAY)) > 0


def _retain_usage(store: Store, clock: Clock, configs: Configs) -> bool:
    now = int(clock.now())
    with store.transaction() as tx:
        return usages.retain(
            tx,
            hours_before=now - configs.value("usage.hours_kept") * usages.DAY,
            days_before=now - configs.value("usage.days_kept") * usages.DAY,
        )


def _retain_deliveries(store: Store, clock: Clock, configs: Configs) -> bool:
    with store.transaction() as tx:
        return deliveries.retain(tx, int(clock.now() - configs.value("webhooks.days_kept") * DAY))
