"""Which models there are, and under which names: rows of the store, independent of what is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import Conflict, NotFound, UnprocessableEntity
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import SYSTEM, Actor
from secureai_appliance.inference.gguf import GgufInfo, Kind
from secureai_appliance.models import remote
from secureai_appliance.models.bundled import BundledModel
from secureai_appliance.models.remote import Remote
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

Status = Literal["available", "loading", "loaded", "failed"]
Source = Literal["bundled", "imported", "remote"]

_REASON = 500
DEFAULT = "default"
"""The name that always stands for a chat model: it can be moved to another, never removed."""

CAPABILITIES: dict[Kind, list[str]] = {
    "chat": ["chat", "completion", "tools", "json_schema"],
    "embedding": ["embedding"],
    "rerank": ["rerank"],
}

# a new install answers to these names, so that clients written for a hosted service run unedited
DEFAULT_ALIASES: dict[str, tuple[str, ...]] = {
    "chat": ("default", "gpt-4", "gpt-4o", "gpt-3.5-turbo"),
    "embedding": ("text-embedding-3-small",),
}

_STORED = (
    "kind, file, sha256, size_bytes, owned_by, license, context_length, parameters, quantization, probed_build,"
    " failure, source, pinned, settings, created_at, updated_at"
)
_ALIASES = "(SELECT json_group_array(x.alias ORDER BY x.alias) FROM model_aliases x WHERE x.model_id = m.id)"
# one row per name: a model under its id, or an alias with the columns of the model that it stands for
_OF_MODEL = ", ".join("m." + column for column in _STORED.split(", "))
NAMES = f"""(
    SELECT m.row_id * 2 AS row_id, m.id AS name, NULL AS alias_of, m.id, {_ALIASES} AS aliases,
        {remote.SHOWN} AS remote, {_OF_MODEL}
    FROM models m
    UNION ALL
    SELECT a.row_id * 2 + 1, a.alias, m.id, m.id, {_ALIASES}, {remote.SHOWN}, {_OF_MODEL}
    FROM model_aliases a JOIN models m ON m.id = a.model_id
)"""  # noqa: S608 (constant columns)
"""What can be named: stands after FROM."""
_COLUMNS = f"name, alias_of, id, aliases, remote, {_STORED}"

# Python's $ alone lets a line break stand at the end
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}(?!\s)$")]
Alias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}(?!\s)$")]


class ModelSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How a model is loaded, where it differs from the boot options (null: as they say).

    `context_length`: tokens that one request may use. `slots`: requests at once. `gpu_layers`: layers on the GPU, when
    the build has one. `chat_template`: a Jinja template in place of the file's. They count from the next loading on.
    """

    context_length: Annotated[int, Meta(ge=256, le=1_048_576)] | None = None
    slots: Annotated[int, Meta(ge=1, le=256)] | None = None
    gpu_layers: Annotated[int, Meta(ge=0, le=1000)] | None = None
    chat_template: Annotated[str, Meta(min_length=1, max_length=100_000)] | None = None


@dataclass(frozen=True)
class ModelRow:
    """A model as stored. `file` is a name in the data folder's `models`, empty for a remote one."""

    name: str
    alias_of: str | None
    id: str
    aliases: tuple[str, ...]
    remote: Remote | None
    kind: Kind
    file: str
    sha256: str
    size_bytes: int
    owned_by: str
    license: str | None
    context_length: int
    parameters: int
    quantization: str
    probed_build: str | None
    failure: str | None
    source: Source
    pinned: bool
    settings: ModelSettings
    created_at: int
    updated_at: int


class AssistantNames(msgspec.Struct, kw_only=True):
    """Under which names an assistant is known."""

    name: str
    slug: str
    description: str


class Model(msgspec.Struct, kw_only=True):
    """A model, or an alias of one (`alias_of`), as the API shows it: OpenAI's fields and ours.

    `context_length` is in tokens, `parameters` a count, `created` Unix seconds. `status`: `available` (checked, not in
    memory), `loading`, `loaded`, `failed` (with `failure` saying why). A `pinned` model stays in memory. `remote`: on
    which server it runs, if not on this one; of its file nothing is known then. `failure` and `remote` are null for
    callers without `models:write`.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    alias_of: str | None
    aliases: list[str]
    status: Status
    failure: str | None
    capabilities: list[str]
    context_length: int | None
    parameters: int | None
    quantization: str | None
    size_bytes: int | None
    sha256: str | None
    license: str | None
    source: Source
    remote: Remote | None
    pinned: bool
    settings: ModelSettings
    assistant: AssistantNames | UnsetType = UNSET
    created_at: str
    updated_at: str


class ModelPage(Page[Model], kw_only=True):
    """The list with OpenAI's `object` beside our list fields."""

    object: Literal["list"] = "list"


def _row(values: tuple[Any, ...]) -> ModelRow:
    decoded = list(values)
    decoded[3] = tuple(msgspec.json.decode(decoded[3], type=list[str]))
    decoded[4] = None if decoded[4] is None else msgspec.json.decode(decoded[4], type=Remote)
    decoded[-4], decoded[-3] = bool(decoded[-4]), msgspec.json.decode(decoded[-3], type=ModelSettings)
    return ModelRow(*decoded)


_SPEC: ListSpec[ModelRow] = ListSpec(
    columns=_COLUMNS,
    source=NAMES,
    sortable={"created_at": "created_at"},
    read=_row,
)


def list_names(db: Reader, query: ListQuery) -> Page[ModelRow]:
    """A page of models and aliases."""
    return list_page(db, _SPEC, query)


def find(db: Reader, name: str) -> ModelRow:
    """The model with this id or alias. Raises NotFound with OpenAI's code `model_not_found`."""
    row = db.one(f"SELECT {_COLUMNS} FROM {NAMES} WHERE name = ? ORDER BY alias_of IS NOT NULL", name)  # noqa: S608
    if row is None:
        raise NotFound(
            f"There is no model '{name}'. GET /api/v1/models lists them.", code="model_not_found", param="model"
        )
    return _row(row)


def all_models(db: Reader) -> list[ModelRow]:
    """Every model once, without aliases, oldest first."""
    rows = db.all(f"SELECT {_COLUMNS} FROM {NAMES} WHERE alias_of IS NULL ORDER BY row_id")  # noqa: S608
    return [_row(row) for row in rows]


_INSERT = (
    "INSERT INTO models (id, kind, file, sha256, size_bytes, owned_by, license, architecture, context_length,"
    " parameters, quantization, source, probed_build, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def register(tx: Transaction, model: BundledModel) -> None:
    """Enter a bundled model, or its new file after an update; the aliases come with its first entry.

    A new file has to be probed again, so what was known of the old one is forgotten.
    """
    now = tx.now()
    known = tx.value("SELECT sha256 FROM models WHERE id = ?", model.id)
    if known == model.sha256:
        return
    tx.run(
        f"{_INSERT} ON CONFLICT (id) DO UPDATE SET file = excluded.file, sha256 = excluded.sha256,"
        " size_bytes = excluded.size_bytes, license = excluded.license, context_length = excluded.context_length,"
        " parameters = excluded.parameters, quantization = excluded.quantization, probed_build = NULL, failure = NULL,"
        " source = excluded.source, updated_at = excluded.updated_at",
        *_values(model),
        "bundled",
        None,
        now,
        now,
    )
    audit.record(tx, SYSTEM, "model.placed", "model", model.id, details={"sha256": model.sha256})
    if known is None:
        for alias in DEFAULT_ALIASES[model.kind]:
            tx.run(
                "INSERT INTO model_aliases (alias, model_id, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                alias,
                model.id,
                now,
            )


@dataclass(frozen=True)
class NewModel:
    """An imported file that is in its place. `file` as in ModelRow; `build` has probed it."""

    id: str
    kind: Kind
    file: str
    sha256: str
    info: GgufInfo
    build: str


def add(tx: Transaction, model: NewModel, aliases: list[str], actor: Actor = SYSTEM) -> ModelRow:
    """Enter an imported model. Raises Conflict for a name that is taken or a file that is there already."""
    refuse_taken(tx, model.id)
    refuse_known(tx, model.sha256)
    now, info = tx.now(), model.info
    tx.run(
        _INSERT,
        *(model.id, model.kind, model.file, model.sha256, info.size_bytes, "imported", info.license),
        *(info.architecture, info.context_length, info.parameters, info.quantization, "imported", model.build),
        *(now, now),
    )
    audit.record(tx, actor, "model.imported", "model", model.id, details={"sha256": model.sha256})
    return _with_aliases(tx, model.id, aliases)


def add_remote(tx: Transaction, model_id: str, kind: Kind, context_length: int | None, aliases: list[str]) -> ModelRow:
    """Enter a remote model, whose place `remote.insert` enters beside it. Raises Conflict for a name that is taken."""
    refuse_taken(tx, model_id)
    now = tx.now()
    values = (model_id, kind, "", "", 0, "remote", None, "", context_length or 0, 0, "", "remote", None, now, now)
    tx.run(_INSERT, *values)
    return _with_aliases(tx, model_id, aliases)


def _with_aliases(tx: Transaction, model_id: str, aliases: list[str]) -> ModelRow:
    for alias in aliases:
        add_alias(tx, find(tx, model_id), alias)
    return find(tx, model_id)


def refuse_taken(db: Reader, name: str) -> None:
    """Raise Conflict when a model or an alias has this name."""
    row = db.one(f"SELECT id FROM {NAMES} WHERE name = ?", name)  # noqa: S608
    if row is not None:
        raise Conflict(f"The name '{name}' is taken by the model '{row[0]}'.", constraint="unique")


def refuse_known(db: Reader, sha256: str) -> None:
    """Raise Conflict when a model with this content is there."""
    known = db.value("SELECT id FROM models WHERE sha256 = ?", sha256)
    if known is not None:
        raise Conflict(f"The file is here already, as '{known}': give that model an alias.", constraint="unique")


def add_alias(tx: Transaction, row: ModelRow, alias: str) -> None:
    """Give a model a name; `default` moves here. Raises Conflict for one that is taken, UnprocessableEntity."""
    if alias == DEFAULT:
        if row.kind != "chat":
            raise UnprocessableEntity(f"Only a chat model can be '{DEFAULT}'.", field="aliases.add")
        tx.run("DELETE FROM model_aliases WHERE alias = ?", DEFAULT)
    taken = tx.one(f"SELECT id, alias_of FROM {NAMES} WHERE name = ?", alias)  # noqa: S608
    if taken == (row.id, row.id):
        return
    if taken is not None:
        raise Conflict(
            f"The name '{alias}' is taken by the model '{taken[0]}'.", field="aliases.add", constraint="unique"
        )
    tx.run(
        "INSERT INTO model_aliases (alias, model_id, created_at) VALUES (?, ?, ?)",
        *(alias, row.id, tx.now()),
    )


def remember_probe(tx: Transaction, model_id: str, build: str | None, failure: str | None) -> None:
    """Keep the outcome of a probe, so that it runs once for each model and build of the engine."""
    tx.run("UPDATE models SET probed_build = ?, failure = ? WHERE id = ?", build, failure, model_id)
    if failure is not None:
        note_failure(tx, model_id, failure)


def note_failure(tx: Transaction, model_id: str, reason: str) -> None:
    """Say in the audit log that a model can't be used."""
    details = {"reason": reason[:_REASON]}
    audit.record(tx, SYSTEM, "model.failed", "model", model_id, details=details, outcome="failure")


def show(row: ModelRow, status: Status, failure: str | None, context_length: int) -> Model:
    """The row as the API shows it; what changes while the program runs is passed in."""
    return Model(
        id=row.name,
        created=row.created_at,
        owned_by=row.owned_by,
        alias_of=row.alias_of,
        aliases=list(row.aliases),
        status=status,
        failure=failure,
        capabilities=CAPABILITIES[row.kind],
        context_length=context_length or None,
        parameters=row.parameters or None,
        quantization=row.quantization or None,
        size_bytes=row.size_bytes or None,
        sha256=row.sha256 or None,
        license=row.license,
        source=row.source,
        remote=row.remote,
        pinned=row.pinned,
        settings=row.settings,
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
    )


def _values(model: BundledModel) -> tuple[Any, ...]:
    info = model.info
    return (
        *(model.id, model.kind, model.file, model.sha256, model.size_bytes, model.owned_by, model.license),
        *(info.architecture, info.context_length, info.parameters, info.quantization),
    )
