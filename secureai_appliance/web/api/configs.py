"""`/configs`: runtime settings, for administrators."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from secureai_appliance.governance.configs import Config, ConfigsExport, ConfigsPatch, ConfigValue
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request
from secureai_appliance.web.responses import require_match


class ConfigQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Settings come sorted by group and key."""

    group: Annotated[str, Meta(description="Only this group, such as `limits`.", max_length=100)] | None = None
    page: Annotated[int, Meta(ge=1, le=1_000_000, description="The page's number, from 1.")] = 1
    page_size: Annotated[int, Meta(ge=1, le=100, description="Settings on a page.")] = 100


def index(request: Request[None, ConfigQuery]) -> Page[Config]:
    query = request.query
    with request.parts.store.read() as db:
        found = request.parts.configs.list_(db)
    chosen = [config for config in found if query.group in (None, config.group)]
    first = (query.page - 1) * query.page_size
    return Page(
        data=chosen[first : first + query.page_size],
        total=len(chosen),
        page=query.page,
        page_size=query.page_size,
        next=None,
    )


def show(request: Request[None, None]) -> Config:
    with request.parts.store.read() as db:
        return request.parts.configs.get(db, request.path["key"])


def put(request: Request[ConfigValue, None]) -> Config:
    configs, key = request.parts.configs, request.path["key"]
    require_match(request, configs.get(request.tx, key))
    configs.put(request.tx, request.caller.actor, key, request.body.value)
    return configs.get(request.tx, key)


def reset(request: Request[None, None]) -> None:
    configs, key = request.parts.configs, request.path["key"]
    require_match(request, configs.get(request.tx, key))
    configs.reset(request.tx, request.caller.actor, key)


def patch(request: Request[ConfigsPatch, None]) -> ConfigsExport:
    require_match(request, request.parts.configs.export(request.tx))
    request.parts.configs.patch(request.tx, request.caller.actor, request.body.values)
    return request.parts.configs.export(request.tx)


def export(request: Request[None, None]) -> ConfigsExport:
    with request.parts.store.read() as db:
        return request.parts.configs.export(db)


def import_(request: Request[ConfigsExport, None]) -> ConfigsExport:
    request.parts.configs.import_(request.tx, request.caller.actor, request.body)
    return request.parts.configs.export(request.tx)
