"""What tokens cost inside the organisation."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Amount = Annotated[float, Meta(ge=0, le=1_000_000)]


class Price(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """For 1,000 tokens, in whatever unit the organisation counts."""

    prompt: Amount = 0.0
    completion: Amount = 0.0
