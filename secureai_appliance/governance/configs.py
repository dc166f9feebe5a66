"""Runtime settings: read everywhere at no cost, changed by administrators, effective with the next request.

What they are stands in `config_table`. Only what differs from its default is stored. Values are cached until anybody,
a command in another process included, has written to the file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from secureai_appliance.core import decoding
from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound, ServiceUnavailable, ValidationError
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.governance.config_table import SETTINGS, Setting
from secureai_appliance.store import Reader, Store, Transaction

MASK = "********"
"""Shown in place of a secret that is set; sent back, it leaves the secret as it is."""
FORMAT: Literal["secureai-configs-1"] = "secureai-configs-1"
_MOST_RECORDED = 1000
_Rows = list[tuple[Any, ...]]
_SHAPES = {"integer", "number", "string", "boolean", "array"}

log = logging.getLogger(__name__)


class Config(msgspec.Struct, kw_only=True):
    """A setting with its value. `validation` is a JSON Schema; `updated_at` null: it was never changed."""

    key: str
    group: str
    type: str
    value: Any
    default: Any
    description: str
    validation: dict[str, Any]
    restart_required: bool
    secret: bool
    updated_at: str | None


class ConfigValue(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new value."""

    value: Any


class ConfigsPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """New values by key, all or none; null puts a setting back to its default."""

    values: dict[str, Any]


class ConfigsExport(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration. As an import: what it leaves out goes back to its default; masked secrets stay."""

    format: Literal["secureai-configs-1"] = FORMAT
    values: dict[str, Any]


class Configs:
    """The settings of one appliance. Safe to use from any thread."""

    def __init__(self, store: Store, sealer: Sealer, table: tuple[Setting, ...] = SETTINGS) -> None:
        self._store = store
        self._sealer = sealer
        self._table = {setting.key: setting for setting in table}
        self._cached: tuple[int, _Rows, Mapping[str, Any]] = (-1, [], {})

    def values(self) -> Mapping[str, Any]:
        """Every setting's value now, of its declared type: one consistent state."""
        cached, known, values = self._cached
        try:
            version = self._store.version()
            if cached != version:
                # the version first: what is written in between only makes the next call read again
                with self._store.read() as db:
                    rows = _rows(db)
                # most of what is written to the file is no setting
                if rows != known or not values:
                    values = self._read(rows)
                self._cached = (version, rows, values)
        except ServiceUnavailable:
            # while storage can't be read the last that was known counts: every answer needs some of it
            if not values:
                raise
        return values

    def value(self, key: str) -> Any:
        """One setting's value now."""
        return self.values()[key]

    def list_(self, db: Reader) -> list[Config]:
        """All of them, by group and key."""
        stored = self._stored(db)
        return [self._config(self._table[key], stored) for key in sorted(self._table)]

    def get(self, db: Reader, key: str) -> Config:
        """One setting. Raises NotFound."""
        if key not in self._table:
            raise NotFound("There is no such setting.")
        return self._config(self._table[key], self._stored(db))

    def put(self, tx: Transaction, actor: Actor, key: str, value: Any) -> None:
        """Change one setting. Raises NotFound, ValidationError."""
        self.get(tx, key)
        if value is None:
            _checked(self._table[key], value)
        self.patch(tx, actor, {key: value})

    def reset(self, tx: Transaction, actor: Actor, key: str) -> None:
        """Put one setting back to its default. Raises NotFound."""
        self.get(tx, key)
        self.patch(tx, actor, {key: None})

    def patch(self, tx: Transaction, actor: Actor, values: Mapping[str, Any]) -> list[str]:
        """Change many, null: back to the default; the keys of those that are others now.

        Raises ValidationError naming the key; nothing counts then.
        """
        changed = []
        for key, value in values.items():
            if key not in self._table:
                raise ValidationError(f"'{key[:200]}' is no setting.", field=key[:200], constraint="unknown")
            before, row = self.get(tx, key).value, _row(tx, key)
            if value is None:
                tx.run("DELETE FROM configs WHERE key = ?", key)
            else:
                self._write(tx, self._table[key], value)
            after = self.get(tx, key).value
            if _row(tx, key) != row:
                shown = not self._table[key].free_text
                details = {"old": _recorded(before), "new": _recorded(after)} if shown else {}
                audit.record(tx, actor, "config.changed", "config", key, details=details)
            if after != before or (after == MASK and value != MASK):
                changed.append(key)
        return changed

    def export(self, db: Reader) -> ConfigsExport:
        """Every setting's value, secrets masked."""
        return ConfigsExport(values={config.key: config.value for config in self.list_(db)})

    def import_(self, tx: Transaction, actor: Actor, exported: ConfigsExport) -> list[str]:
        """Make the configuration that of an export; the keys of what is other now. Raises as `patch` does."""
        return self.patch(tx, actor, dict.fromkeys(self._table) | exported.values)

    # --- one value

    def _write(self, tx: Transaction, setting: Setting, value: Any) -> None:
        if setting.secret and value == MASK:
            return
        checked = _checked(setting, value)
        if not setting.secret and checked == self._value(setting, self._stored(tx)):
            return  # as it is already: nothing changes, and nothing is recorded
        stored: Any = checked
        if setting.secret:
            stored = {"sealed": self._sealer.seal(str(checked).encode(), _context(setting)).hex()}
        tx.run(
            "INSERT INTO configs (key, value, updated_at) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            *(setting.key, msgspec.json.encode(stored).decode(), tx.now()),
        )

    def _stored(self, db: Reader) -> dict[str, tuple[Any, int]]:
        return _decoded(_rows(db))

    def _read(self, rows: _Rows) -> Mapping[str, Any]:
        stored = _decoded(rows)
        return MappingProxyType({key: self._value(setting, stored) for key, setting in self._table.items()})

    def _value(self, setting: Setting, stored: Mapping[str, tuple[Any, int]]) -> Any:
        if setting.key not in stored:
            return setting.default
        value, _ = stored[setting.key]
        try:
            if setting.secret:
                return self._sealer.open(bytes.fromhex(value["sealed"]), _context(setting)).decode()
            return _checked(setting, value)
        except ValidationError as failure:
            # another version of the program took it; a server that doesn't start would help nobody
            log.error("the stored value is not used: %s", failure.message)
            return setting.default

    def _config(self, setting: Setting, stored: Mapping[str, tuple[Any, int]]) -> Config:
        value = self._value(setting, stored)
        if setting.secret:
            value = MASK if value else ""
        kind = setting.schema.get("type")
        return Config(
            key=setting.key,
            group=setting.group,
            type=kind if kind in _SHAPES else "object",
            value=msgspec.to_builtins(value),
            default=msgspec.to_builtins(setting.default),
            description=setting.description,
            validation=setting.schema,
            restart_required=setting.restart_required,
            secret=setting.secret,
            updated_at=rfc3339(stored[setting.key][1]) if setting.key in stored else None,
        )


def _checked(setting: Setting, value: Any) -> Any:
    given = value
    if isinstance(setting.default, msgspec.Struct):
        given = _filled(msgspec.to_builtins(setting.default), value)
    try:
        checked = msgspec.convert(given, setting.type)
    except msgspec.ValidationError as cause:
        raise decoding.explain(str(cause), within=[setting.key]) from cause
    try:
        setting.check(checked)
    except ValueError as cause:
        raise ValidationError(f"The '{setting.key}' field {cause}", field=setting.key, constraint="invalid") from cause
    return checked


def _filled(default: Any, value: Any) -> Any:
    """`value` with the fields that it leaves out taken from `default`."""
    if not (isinstance(default, dict) and isinstance(value, dict)):
        return value
    return default | {name: _filled(default.get(name), inner) for name, inner in value.items()}


def _rows(db: Reader) -> _Rows:
    return db.all("SELECT key, value, updated_at FROM configs ORDER BY key")


def _decoded(rows: _Rows) -> dict[str, tuple[Any, int]]:
    return {key: (msgspec.json.decode(value), updated_at) for key, value, updated_at in rows}


def _row(tx: Transaction, key: str) -> Any:
    return tx.value("SELECT value FROM configs WHERE key = ?", key)


def _recorded(value: Any) -> str:
    """For the audit log, which bounds what a row holds."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_RECORDED else f"{text[:_MOST_RECORDED]}…"


def _context(setting: Setting) -> str:
    return f"configs.{setting.key}"


def table_as_markdown(table: tuple[Setting, ...] = SETTINGS) -> str:
    """The table for the documentation; a test compares."""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for setting in sorted(table, key=lambda setting: setting.key):
        default = msgspec.json.encode(setting.default).decode()
        shown = "below" if isinstance(setting.default, msgspec.Struct) else f"`{default}`"
        restart = " Counts from the next start on." if setting.restart_required else ""
        rows.append(f"| `{setting.key}` | {shown} | {setting.description}{restart} |")
    return "\n".join(rows) + "\n"
