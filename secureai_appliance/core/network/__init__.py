"""The one door to other servers: what the appliance dials, it dials here.

The name is resolved here, every address is checked, and exactly the checked address is dialled, so that a name that
answers otherwise a moment later leads nowhere else. Redirects are answers like any other, proxies of the environment
are not looked at, and time and size are bounded.
"""

from __future__ import annotations

from secureai_appliance.core.network.addresses import NEVER, Address, AddressPolicy, Network, networks
from secureai_appliance.core.network.call import Call, Fetched, Timeouts
from secureai_appliance.core.network.door import USER_AGENT, Door, Resolve, system_resolve
from secureai_appliance.core.network.failures import (
    Blocked,
    Cancelled,
    InvalidUrl,
    NetworkError,
    TimedOut,
    TooLarge,
    Unreachable,
)
from secureai_appliance.core.network.urls import Target, parse_url

__all__ = [
    "NEVER",
    "USER_AGENT",
    "Address",
    "AddressPolicy",
    "Blocked",
    "Call",
    "Cancelled",
    "Door",
    "Fetched",
    "InvalidUrl",
    "Network",
    "NetworkError",
    "Resolve",
    "Target",
    "TimedOut",
    "Timeouts",
    "TooLarge",
    "Unreachable",
    "networks",
    "parse_url",
    "system_resolve",
]
