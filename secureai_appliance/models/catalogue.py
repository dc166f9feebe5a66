"""Which models there are, and under which names: rows of the store, independent of what is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from secureai_appliance.core.clock import rfc3339
from secureai_appliance.core.errors import NotFound
from secureai_appliance.models.bundled import BundledModel
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Transaction, list_page

Kind = Literal["chat", "embedding"]
Status = Literal["available", "loading", "loaded", "failed"]

CAPABILITIES: dict[str, list[str]] = {"chat": ["chat"], "embedding": ["embedding"]}

# a new install answers to these names, so that clients written for a hosted service run unedited
DEFAULT_ALIASES: dict[str, tuple[str, ...]] = {
    "chat": ("default", "gpt-4", "gpt-4o", "gpt-3.5-turbo"),
    "embedding": ("text-embedding-3-small",),
}

_STORED = (
    "kind, file, sha256, size_bytes, owned_by, license, context_length, parameters, quantization, probed_build,"
    " failure, created_at, updated_at"
)
# one row per name: a model under its id, or an alias with the columns of the model that it stands for
_NAMES = f"""(
    SELECT row_id * 2 AS row_id, id AS name, NULL AS alias_of, id, {_STORED} FROM models
    UNION ALL
    SELECT a.row_id * 2 + 1, a.alias, m.id, m.id, {", ".join("m." + column for column in _STORED.split(", "))}
    FROM model_aliases a JOIN models m ON m.id = a.model_id
)"""  # noqa: S608 (constant columns)
_COLUMNS = f"name, alias_of, id, {_STORED}"


@dataclass(frozen=True)
class ModelRow:
    """A model as stored. `file` is a name in the data folder's `models`."""

    name: str
    alias_of: str | None
    id: str
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
    created_at: int
    updated_at: int


class Model(msgspec.Struct, kw_only=True):
    """A model, or an alias of one (`alias_of`), as the API shows it: OpenAI's fields and ours.

    `context_length` is in tokens, `parameters` a count, `created` Unix seconds. `status`: `available` (checked, not in
    memory), `loading`, `loaded`, `failed` (with `failure` saying why).
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    alias_of: str | None
    status: Status
    failure: str | None
    capabilities: list[str]
    context_length: int
    parameters: int
    quantization: str
    size_bytes: int
    sha256: str
    license: str | None
    created_at: str
    updated_at: str


class ModelPage(Page[Model], kw_only=True):
    """The list with OpenAI's `object` beside our list fields."""

    object: Literal["list"] = "list"


_SPEC: ListSpec[ModelRow] = ListSpec(
    columns=_COLUMNS,
    source=_NAMES,
    sortable={"created_at": "created_at"},
    read=lambda row: ModelRow(*row),
)


def list_names(db: Reader, query: ListQuery) -> Page[ModelRow]:
    """A page of models and aliases."""
    return list_page(db, _SPEC, query)


def find(db: Reader, name: str) -> ModelRow:
    """The model with this id or alias. Raises NotFound with OpenAI's code `model_not_found`."""
    row = db.one(f"SELECT {_COLUMNS} FROM {_NAMES} WHERE name = ? ORDER BY alias_of IS NOT NULL", name)  # noqa: S608
    if row is None:
        raise NotFound(
            f"There is no model '{name}'. GET /api/v1/models lists them.", code="model_not_found", param="model"
        )
    return ModelRow(*row)


def all_models(db: Reader) -> list[ModelRow]:
    """Every model once, without aliases, oldest first."""
    rows = db.all(f"SELECT {_COLUMNS} FROM {_NAMES} WHERE alias_of IS NULL ORDER BY row_id")  # noqa: S608
    return [ModelRow(*row) for row in rows]


def register(tx: Transaction, model: BundledModel) -> None:
    """Enter a bundled model, or its new file after an update; the aliases come with its first entry.

    A new file has to be probed again, so what was known of the old one is forgotten.
    """
    now = tx.now()
    known = tx.value("SELECT sha256 FROM models WHERE id = ?", model.id)
    if known == model.sha256:
        return
    tx.run(
        "INSERT INTO models (id, kind, file, sha256, size_bytes, owned_by, license, architecture, context_length,"
        " parameters, quantization, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET file = excluded.file, sha256 = excluded.sha256,"
        " size_bytes = excluded.size_bytes, license = excluded.license, context_length = excluded.context_length,"
        " parameters = excluded.parameters, quantization = excluded.quantization, probed_build = NULL, failure = NULL,"
        " updated_at = excluded.updated_at",
        *_values(model),
        now,
        now,
    )
    if known is None:
        for alias in DEFAULT_ALIASES[model.kind]:
            tx.run(
                "INSERT INTO model_aliases (alias, model_id, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                alias,
                model.id,
                now,
            )


def remember_probe(tx: Transaction, model_id: str, build: str | None, failure: str | None) -> None:
    """Keep the outcome of a probe, so that it runs once for each model and build of the engine."""
    tx.run("UPDATE models SET probed_build = ?, failure = ? WHERE id = ?", build, failure, model_id)


def show(row: ModelRow, status: Status, failure: str | None, context_length: int) -> Model:
    """The row as the API shows it; what changes while the program runs is passed in."""
    return Model(
        id=row.name,
        created=row.created_at,
        owned_by=row.owned_by,
        alias_of=row.alias_of,
        status=status,
        failure=failure,
        capabilities=CAPABILITIES[row.kind],
        context_length=context_length,
        parameters=row.parameters,
        quantization=row.quantization,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        license=row.license,
        created_at=rfc3339(row.created_at),
        updated_at=rfc3339(row.updated_at),
    )


def _values(model: BundledModel) -> tuple[Any, ...]:
    info = model.info
    return (
        model.id,
        model.kind,
        model.file,
        model.sha256,
        model.size_bytes,
        model.owned_by,
        model.license,
        info.architecture,
        info.context_length,
        info.parameters,
        info.quantization,
    )
