"""Who is asking: the outcome of authentication and the only thing that authorisation looks at."""

from __future__ import annotations

from dataclasses import dataclass

from secureai_appliance.core.errors import PermissionDenied


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
    restricted: bool = False
    """Whether the credential leaves the user less than the role gives (scopes)."""
    expires_at: int | None = None
    """Unix seconds at which the credential ends; what it makes can't outlive it."""

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
