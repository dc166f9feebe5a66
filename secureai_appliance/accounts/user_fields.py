"""Users as requests and answers have them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts import groups
from secureai_appliance.accounts.permissions import Permissions, PermissionsPatch, Role, Tier
from secureai_appliance.governance.tiers import Overrides
from secureai_appliance.store import ListQuery


class User(msgspec.Struct, kw_only=True):
    """A person or service that may ask. `permissions` are those of this user alone, beside role and groups."""

    id: str
    email: str
    name: str
    role: Role
    tier: Tier
    groups: list[str]
    permissions: Permissions
    disabled: bool
    limits: Overrides | None
    created_at: str
    updated_at: str


class Me(msgspec.Struct, kw_only=True):
    """The caller. `permissions` are the rights that this credential leaves them."""

    id: str
    email: str
    name: str
    role: Role
    tier: Tier
    groups: list[groups.GroupName]
    permissions: list[str]
    disabled: bool
    limits: Overrides | None
    key_id: str | None
    created_at: str
    updated_at: str


class UserCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new user, who signs in with a link or a password that is given to them."""

    email: str
    name: str
    role: Role = "user"
    tier: Tier = "standard"
    groups: groups.Ids = []
    permissions: Permissions = msgspec.field(default_factory=Permissions)
    limits: Overrides | None = None


class UserPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a user; what is left out stays. `groups` and `limits` are replaced as a whole."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    tier: Tier | UnsetType = UNSET
    groups: groups.Ids | UnsetType = UNSET
    permissions: PermissionsPatch | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    limits: Overrides | UnsetType | None = UNSET


class UserQuery(ListQuery, kw_only=True):
    """`group` is a group's id; `q` looks into address and name."""

    role: Role | None = None
    tier: Tier | None = None
    disabled: bool | None = None
    group: Annotated[str, Meta(max_length=100)] | None = None


class UserDelete(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What becomes of what the user has made."""

    transfer_to: (
        Annotated[str, Meta(max_length=100, description="The user who gets it; without it, it is deleted too.")] | None
    ) = None
