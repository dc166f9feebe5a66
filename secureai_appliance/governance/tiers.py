"""How much a tier allows."""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

log = logging.getLogger(__name__)

MOST = 2**31 - 1
"""What the header shows where there is no limit."""

Bound = Annotated[int, Meta(ge=1, le=MOST)] | None


class Bounds(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What one user may do over all keys; null: no limit. Minutes and days are UTC's. Completions (embeddings too)
    count among the requests and on their own; tokens are theirs, prompt and answer.
    """

    requests_per_minute: Bound = None
    requests_per_day: Bound = None
    concurrent_requests: Bound = None
    completions_per_minute: Bound = None
    completions_per_day: Bound = None
    concurrent_completions: Bound = None
    tokens_per_minute: Bound = None
    tokens_per_day: Bound = None


def _bounds(requests: tuple[int, int, int], completions: tuple[int, int, int]) -> Bounds:
    return Bounds(
        requests_per_minute=requests[0],
        requests_per_day=requests[1],
        concurrent_requests=requests[2],
        completions_per_minute=completions[0],
        completions_per_day=completions[1],
        concurrent_completions=completions[2],
    )


class Tiers(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The bounds of each tier."""

    free: Bounds = _bounds((10, 500, 2), (5, 200, 1))
    standard: Bounds = _bounds((60, 10_000, 10), (30, 3_000, 4))
    professional: Bounds = _bounds((120, 50_000, 25), (60, 15_000, 10))
    enterprise: Bounds = _bounds((600, 200_000, 100), (300, 100_000, 40))


class Overrides(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, omit_defaults=True):
    """Bounds of one user in place of the tier's: null lifts one, what is left out is the tier's."""

    requests_per_minute: Bound | UnsetType = UNSET
    requests_per_day: Bound | UnsetType = UNSET
    concurrent_requests: Bound | UnsetType = UNSET
    completions_per_minute: Bound | UnsetType = UNSET
    completions_per_day: Bound | UnsetType = UNSET
    concurrent_completions: Bound | UnsetType = UNSET
    tokens_per_minute: Bound | UnsetType = UNSET
    tokens_per_day: Bound | UnsetType = UNSET

    def over(self, bounds: Bounds) -> Bounds:
        """`bounds` with these in their place."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        return msgspec.structs.replace(bounds, **given)


def read(user_id: str, text: str) -> Overrides | None:
    """Bounds as they are stored."""
    try:
        return _overrides.decode(text)
    except msgspec.MsgspecError as cause:
        # another version of the program wrote it: the tier's bounds count
        log.error("the limits of user %s are not used: %s", user_id, cause)
        return None


_overrides = msgspec.json.Decoder(Overrides)
