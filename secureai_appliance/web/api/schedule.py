"""`/schedule`: what the scheduler does, for administrators."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from secureai_appliance.core.jobs import JobState
from secureai_appliance.store import Page
from secureai_appliance.web.request import Request


class ScheduleQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Jobs come sorted by name."""

    page: Annotated[int, Meta(ge=1, le=1_000_000, description="The page's number, from 1.")] = 1
    page_size: Annotated[int, Meta(ge=1, le=100, description="Jobs on a page.")] = 100


def index(request: Request[None, ScheduleQuery]) -> Page[JobState]:
    query = request.query
    jobs = request.parts.schedule()
    first = (query.page - 1) * query.page_size
    return Page(
        data=jobs[first : first + query.page_size],
        total=len(jobs),
        page=query.page,
        page_size=query.page_size,
        next=None,
    )
