"""Permissions are strings `resource:action`; a role is a set of them, to which an administrator adds and takes away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.errors import ValidationError

Role = Literal["admin", "auditor", "user"]
Tier = Literal["free", "standard", "professional", "enterprise"]

ROLES: tuple[str, ...] = get_args(Role)
TIERS: tuple[str, ...] = get_args(Tier)

PERMISSIONS: dict[str, str] = {
    "assistants:read": "See assistants",
    "assistants:write": "Make, change and delete assistants",
    "audit:read": "Read, export and verify the audit log",
    "chats:read": "Read one's own chats",
    "chats:write": "Make, change and delete one's own chats",
    "completions:create": "Ask a model for a completion",
    "configs:admin": "See and change the settings of the appliance",
    "embeddings:create": "Turn text into vectors, rank texts",
    "keys:read": "See one's own API keys",
    "keys:write": "Make, change and revoke one's own API keys",
    "knowledge:read": "See and search knowledge bases",
    "knowledge:watch": "Have knowledge bases filled from folders of the server",
    "knowledge:write": "Make, fill, change and delete knowledge bases",
    "metrics:read": "Read the server's metrics",
    "models:read": "List models and see their state",
    "models:write": "Import, change, load, unload and remove models",
    "oauth:admin": "Register, change and remove OAuth clients",
    "prompts:read": "See prompts",
    "prompts:write": "Make, change and delete prompts",
    "tools:invoke": "Call tools, oneself and through assistants",
    "tools:read": "See tools",
    "tools:write": "Make, change and delete tools, which reach other servers",
    "usage:read": "See what everybody has used",
    "users:admin": "Make, change and delete users and groups; see and revoke everybody's API keys",
    "users:read": "See users and groups",
    "webhooks:admin": "Make, change and delete webhooks",
}

ORDINARY = frozenset(
    {
        *("assistants:read", "assistants:write", "chats:read", "chats:write", "completions:create"),
        *("embeddings:create", "keys:read", "keys:write", "knowledge:read", "knowledge:write", "models:read"),
        *("prompts:read", "prompts:write", "tools:invoke", "tools:read"),
    }
)
"""What everybody may do."""

ROLE_PERMISSIONS: dict[str, frozenset[str]] = {
    "admin": frozenset(PERMISSIONS),
    "auditor": ORDINARY | {"audit:read", "usage:read", "users:read"},
    "user": ORDINARY,
}

Names = Annotated[list[str], Meta(max_length=100)]


class Permissions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is granted beyond the role, and what is denied."""

    granted: Names = []
    denied: Names = []


class PermissionsPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """New lists; what is left out stays."""

    granted: Names | UnsetType = UNSET
    denied: Names | UnsetType = UNSET


def held_by(role: str, granted: Iterable[str], denied: Iterable[str]) -> frozenset[str]:
    """What a user may do: the role's, and what is granted to them or a group of theirs, but nothing that is denied.

    A denial wins wherever it stands. Administrators hold everything, so that no group shuts the last one out.
    """
    if role == "admin":
        return ROLE_PERMISSIONS[role]
    # a permission that a later version no longer knows may still be stored
    return ((ROLE_PERMISSIONS[role] | frozenset(granted)) - frozenset(denied)) & PERMISSIONS.keys()


def checked(names: Iterable[str], field: str) -> list[str]:
    """The names, sorted, each once. Raises ValidationError naming the first that is no permission."""
    for name in names:
        if name not in PERMISSIONS:
            raise ValidationError(
                f"'{name[:100]}' is no permission. Permissions: {', '.join(PERMISSIONS)}.",
                field=field,
                constraint="enum",
            )
    return sorted(set(names))
