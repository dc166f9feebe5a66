"""The parts of the appliance that handlers use, put together by `appliance`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secureai_appliance.accounts.second_factors import SecondFactors
from secureai_appliance.accounts.sign_ins import SignIns
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.jobs import JobState
from secureai_appliance.core.paths import DataFolder
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance.addresses import Addresses
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.configs import Configs
from secureai_appliance.governance.ownership import Ownership
from secureai_appliance.governance.quotas import Quotas
from secureai_appliance.governance.refusals import Refusal, Refusals
from secureai_appliance.governance.usage import Usage
from secureai_appliance.settings import Settings
from secureai_appliance.store import Store
from secureai_appliance.web.metrics import Metrics

if TYPE_CHECKING:
    # what handles HTTP runs without the engine's libraries loaded
    from secureai_appliance.conversations.toolbox.toolbox import Toolbox
    from secureai_appliance.conversations.turns import Turns
    from secureai_appliance.knowledge.ingest import Ingest
    from secureai_appliance.models.registry import Models
    from secureai_appliance.models.uploads import Uploads


@dataclass(frozen=True)
class Check:
    """One line of `/readyz`: what was looked at, whether it is well, and one plain sentence if not.

    One that is well and has a sentence stops no request: it is a note for the administrator.
    """

    name: str
    ok: bool
    message: str = ""


@dataclass(frozen=True)
class Parts:
    """Built once at start."""

    settings: Settings
    data: DataFolder
    clock: Clock
    store: Store
    configs: Configs
    addresses: Addresses
    sealer: Sealer
    sign_ins: SignIns
    quotas: Quotas
    usage: Usage
    second_factors: SecondFactors
    ownership: Ownership
    models: Models
    toolbox: Toolbox
    uploads: Uploads
    turns: Turns
    ingest: Ingest
    metrics: Metrics
    readiness: Callable[[], list[Check]]
    schedule: Callable[[], list[JobState]]
    refusals: Refusals = field(default_factory=Refusals)

    def failed_authentication(self, client: str, action: str, target_type: str, target: str) -> None:
        """Count and note somebody who did not show who they are. Raises RateLimitExceeded past the address's bound."""
        self.refusals.note(Refusal(action, Actor(ip=client), target_type, target, "failure"), self.clock.now())
        self.without_credential(client)

    def without_credential(self, client: str) -> None:
        """Count somebody who showed nothing that is theirs alone. Raises RateLimitExceeded past the address's bound."""
        self.addresses.failed(client, self.configs.value("limits.failed_authentications_per_minute"))
