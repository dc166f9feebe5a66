"""What administrators change of a model: its names, whether it stays in memory, how it is loaded; and its end."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.errors import Conflict, UnprocessableEntity
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.inference.library import load_library
from secureai_appliance.inference.model import NO_GPU
from secureai_appliance.models.catalogue import DEFAULT, Alias, ModelRow, ModelSettings, add_alias, find
from secureai_appliance.models.remote import RemotePatch
from secureai_appliance.store import Transaction


class AliasChanges(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Names to give to a model and to take from it. Adding `default` moves it here."""

    add: Annotated[list[Alias], Meta(max_length=100)] = []
    remove: Annotated[list[str], Meta(max_length=100)] = []


class ModelPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a model; what is left out stays. `settings` are replaced as a whole."""

    aliases: AliasChanges | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    settings: ModelSettings | UnsetType = UNSET
    remote: RemotePatch | UnsetType = UNSET


def patch(tx: Transaction, row: ModelRow, body: ModelPatch, actor: Actor = SYSTEM) -> ModelRow:
    """Change a model. Raises Conflict for a name that is taken, UnprocessableEntity for what it can't take."""
    require_own_name(row)
    if body.aliases is not UNSET:
        for alias in body.aliases.remove:
            _remove_alias(tx, row, alias)
        for alias in body.aliases.add:
            add_alias(tx, row, alias)
    if row.source == "remote" and (body.pinned is not UNSET or body.settings is not UNSET):
        raise UnprocessableEntity(f"'{row.id}' is not loaded here: only its aliases and 'remote' can be changed.")
    if body.remote is not UNSET and row.source != "remote":
        raise UnprocessableEntity(f"'{row.id}' is no remote model.", field="remote", constraint="supported")
    if body.pinned is not UNSET:
        tx.run("UPDATE models SET pinned = ? WHERE id = ?", int(body.pinned), row.id)
    if body.settings is not UNSET:
        _check_settings(row, body.settings)
        # what it failed at may have been the old settings
        tx.run(
            "UPDATE models SET settings = ?, failure = NULL WHERE id = ?",
            msgspec.json.encode(body.settings).decode(),
            row.id,
        )
    tx.run("UPDATE models SET updated_at = ? WHERE id = ?", tx.now(), row.id)
    fields = [name for name in body.__struct_fields__ if getattr(body, name) is not UNSET]
    moved = body.aliases is not UNSET and DEFAULT in body.aliases.add
    details: audit.Details = {"fields": fields, "becomes_default": moved}
    audit.record(tx, actor, "model.updated", "model", row.id, details=details)
    return find(tx, row.id)


def remove(tx: Transaction, row: ModelRow, actor: Actor = SYSTEM) -> None:
    """Forget an imported model with its aliases. Raises Conflict for one that has to stay."""
    require_own_name(row)
    if DEFAULT in row.aliases:
        raise Conflict(f"'{row.id}' is the default model: give another model the alias '{DEFAULT}' first.")
    if row.source == "bundled":
        raise Conflict(f"'{row.id}' comes with the program and would be back at the next start; unload it instead.")
    tx.run("DELETE FROM models WHERE id = ?", row.id)
    audit.record(tx, actor, "model.removed", "model", row.id, details={"sha256": row.sha256})


def require_own_name(row: ModelRow) -> None:
    """Raise UnprocessableEntity when the row was found by an alias: what changes a model names the model."""
    if row.alias_of is not None:
        raise UnprocessableEntity(f"'{row.name}' is an alias: name the model itself, '{row.id}'.", constraint="alias")


def _remove_alias(tx: Transaction, row: ModelRow, alias: str) -> None:
    if alias == DEFAULT:
        raise UnprocessableEntity(
            f"'{DEFAULT}' always stands for a model: give it to another instead.", field="aliases.remove"
        )
    if alias not in row.aliases:
        raise UnprocessableEntity(f"'{alias}' is no alias of '{row.id}'.", field="aliases.remove")
    tx.run("DELETE FROM model_aliases WHERE alias = ? AND model_id = ?", alias, row.id)


def _check_settings(row: ModelRow, settings: ModelSettings) -> None:
    if settings.chat_template is not None:
        from secureai_appliance.inference.template import ChatTemplate

        try:
            ChatTemplate(settings.chat_template, "", "")
        except ValueError as cause:
            raise UnprocessableEntity(str(cause), field="settings.chat_template", constraint="template") from cause
    if settings.gpu_layers and not load_library().has_gpu:
        raise UnprocessableEntity(NO_GPU, field="settings.gpu_layers", constraint="gpu")
    if row.kind != "chat" and settings != ModelSettings():
        raise UnprocessableEntity("Only a chat model has such settings.", field="settings")
