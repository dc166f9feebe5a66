"""One request and its answer on their way through the gateway."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.governance.limits import Lease, Standing
from secureai_appliance.web.request import Metered
from secureai_appliance.web.route import Route

if TYPE_CHECKING:
    from secureai_appliance.web.budget import Budget

log = logging.getLogger(__name__)


@dataclass
class Exchange:
    """What is found out about a request, and what has to be given back when its answer is sent."""

    id: str
    environ: dict[str, Any]
    client: str
    """The client's address: the peer's, or what a trusted proxy says."""
    started: float
    """Monotonic seconds."""
    route: Route | None = None
    caller: Caller | None = None
    lease: Lease | None = None
    """The caller's place in the limits, where the route counts."""
    budget: Budget | None = None
    standing: Standing | None = None
    """The window that refused the request."""
    status: int = 0
    metered: Metered = field(default_factory=Metered)
    _releases: list[Callable[[], None]] = field(default_factory=list)

    @property
    def method(self) -> str:
        method: str = self.environ["REQUEST_METHOD"]
        return method

    def disconnected(self) -> bool:
        """Whether the client has hung up."""
        look = self.environ.get("waitress.client_disconnected")
        return bool(look()) if look is not None else False

    def on_close(self, release: Callable[[], None]) -> None:
        """Call `release` once the answer was sent, or could not be."""
        self._releases.append(release)

    def close(self) -> None:
        """Give everything back, the last first; what fails does not keep the rest."""
        while self._releases:
            release = self._releases.pop()
            try:
                release()
            except Exception:
                # a defect in one must not leak the places that the others hold
                log.exception("%s: defect while a request was closed", self.id)
