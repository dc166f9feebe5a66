"""Who is asking: the outcome of authentication and the only thing that authorisation looks at."""

from __future__ import annotations

from dataclasses import dataclass

from secureai_appliance.accounts.permissions import ORDINARY, ROLE_PERMISSIONS
from secureai_appliance.core.errors import PermissionDenied
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.tiers import Overrides


@dataclass(frozen=True)
class Caller:
    """A user, through a key or a session, with the rights that this credential leaves them."""

    user_id: str
    email: str
    role: str
    tier: str
    permissions: frozenset[str]
    """The user's, cut down to the key's scopes."""
    key_id: str | None = None
    """None for a session of the pages."""
    session_id: str | None = None
    """Of the session of the pages, None for a key."""
    grant_id: str | None = None
    """For an access token, and a key that was made with one: the authorization that it came of."""
    restricted: bool = False
    """Whether the credential leaves the user less than they hold (scopes)."""
    expires_at: int | None = None
    """Unix seconds at which the credential ends; what it makes can't outlive it."""
    models: frozenset[str] | None = None
    """Models and aliases that the credential is for; None: all."""
    addresses: tuple[str, ...] | None = None
    """Networks (CIDR) that the credential works from; None: all."""
    limits: Overrides | None = None
    """The user's own bounds in place of the tier's."""
    ip: str | None = None
    """The client's address, where there is one."""
    command: str = ""
    """For what is done on the server's own command line in the user's name: which command."""

    @property
    def actor(self) -> Actor:
        """Who acts, for the audit log: on the command line it is not the user in whose name a thing is done."""
        return (
            Actor(command=self.command) if self.command else Actor(self.user_id, self.key_id or self.grant_id, self.ip)
        )

    def may(self, permission: str) -> bool:
        """Whether this caller holds `permission`."""
        return permission in self.permissions

    def require(self, permission: str) -> None:
        """Raise PermissionDenied unless the caller holds `permission`."""
        if not self.may(permission):
            raise PermissionDenied(
                f"This needs the permission '{permission}', which this credential does not have.",
                details={"permission": permission},
            )

    def require_reach(self, rights: frozenset[str]) -> None:
        """Raise PermissionDenied for rights that the caller can neither give nor take from those who hold them.

        That is what goes beyond an ordinary user's and is not the caller's own: who administers users does not thereby
        become an administrator, or end one.
        """
        beyond = sorted(rights - ORDINARY - self.permissions)
        if beyond:
            raise PermissionDenied(
                f"This is about the permission '{beyond[0]}', which this credential does not have itself.",
                details={"permission": beyond[0]},
            )

    def require_unbound(self, rights: frozenset[str]) -> None:
        """Raise PermissionDenied for a credential that is bound in any way or lacks one of `rights`.

        For what lets somebody in with all of a user's rights: a bound credential would be rid of its bounds by it.
        """
        bound = self.restricted or not (self.models is None and self.addresses is None and self.expires_at is None)
        beyond = sorted(rights - self.permissions)
        if bound or beyond:
            raise PermissionDenied(
                "This needs a credential without bounds (scopes, models, addresses, an end), which has every right of"
                " the user that it is about.",
                details={"permission": beyond[0]} if beyond else {},
            )

    def require_model(self, model_id: str, asked: str) -> None:
        """Raise PermissionDenied when the credential is for other models than `model_id`, asked for as `asked`."""
        if self.models is not None and model_id not in self.models and asked not in self.models:
            raise PermissionDenied(f"This API key is not for the model '{asked}'.", code="model_not_allowed")


def operator(command: str) -> Caller:
    """Whoever runs a command on the server itself: may do everything, and is nobody's user."""
    return Caller("", "", "admin", "enterprise", ROLE_PERMISSIONS["admin"], command=command)
