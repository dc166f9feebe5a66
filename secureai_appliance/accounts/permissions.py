"""Permissions are strings `resource:action`; a role is a set of them."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["admin", "auditor", "user"]
Tier = Literal["free", "standard", "professional", "enterprise"]

ROLES: tuple[str, ...] = get_args(Role)
TIERS: tuple[str, ...] = get_args(Tier)

PERMISSIONS: dict[str, str] = {
    "audit:read": "Read, export and verify the audit log",
    "completions:create": "Ask a model for a completion",
    "configs:admin": "See and change the settings of the appliance",
    "embeddings:create": "Turn text into vectors",
    "keys:read": "See one's own API keys",
    "keys:write": "Make, change and revoke one's own API keys",
    "metrics:read": "Read the server's metrics",
    "models:read": "List models and see their state",
    "models:write": "Import, change, load, unload and remove models",
    "oauth:admin": "Register, change and remove OAuth clients",
    "usage:read": "See what everybody has used",
}

_USER = frozenset({"completions:create", "embeddings:create", "keys:read", "keys:write", "models:read"})

ROLE_PERMISSIONS: dict[str, frozenset[str]] = {
    "admin": frozenset(PERMISSIONS),
    "auditor": _USER | {"audit:read", "usage:read"},
    "user": _USER,
}
