"""Assistants: a model with a system prompt, parameters, knowledge and tools, under a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts import sharing
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import Shareable, Visibility
from secureai_appliance.accounts.shelf import Name, Possession, Shares, Shelf, ShelfQuery, Slug, json_text, slug_of
from secureai_appliance.conversations import messages, structured
from secureai_appliance.conversations.messages import (
    ChatRequest,
    Message,
    ResponseFormat,
    Retrieval,
    SamplingParameters,
)
from secureai_appliance.conversations.toolbox import registry
from secureai_appliance.core.errors import Conflict, NotFound, UnprocessableEntity, ValidationError
from secureai_appliance.knowledge.bases import BASES
from secureai_appliance.models import catalogue
from secureai_appliance.models.catalogue import ModelRow
from secureai_appliance.store import ListQuery, ListSpec, Page, Reader, Row, Transaction, list_page

Description = Annotated[str, Meta(max_length=1000)]
ModelName = Annotated[str, Meta(min_length=1, max_length=200)]
SystemPrompt = Annotated[str, Meta(max_length=100_000)]
Ids = Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=50)]
Starters = Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=20)]


class AssistantParameters(SamplingParameters, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a completion takes where its request says nothing. `tool_choice` is that of the first round of tools."""

    response_format: ResponseFormat | None = None
    tool_choice: Literal["auto", "required", "none"] | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    retrieval: Retrieval | None = None


class AssistantCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new assistant. Without a `slug` one is made of the name; `model` is a model's id or an alias."""

    name: Name
    slug: Slug | None = None
    description: Description = ""
    model: ModelName = catalogue.DEFAULT
    system_prompt: SystemPrompt = ""
    parameters: AssistantParameters = msgspec.field(default_factory=AssistantParameters)
    knowledge_base_ids: Ids = []
    tool_ids: Ids = []
    starters: Starters = []
    visibility: Visibility = "private"
    shares: Shares = []


class AssistantPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of an assistant; what is left out stays. `parameters` and lists are replaced as a whole."""

    name: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    model: ModelName | UnsetType = UNSET
    system_prompt: SystemPrompt | UnsetType = UNSET
    parameters: AssistantParameters | UnsetType = UNSET
    knowledge_base_ids: Ids | UnsetType = UNSET
    tool_ids: Ids | UnsetType = UNSET
    starters: Starters | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    shares: Shares | UnsetType = UNSET


class Assistant(Possession, kw_only=True):
    """An assistant. What it refers to works for whoever may use that themselves."""

    slug: str
    description: str
    model: str
    system_prompt: str
    parameters: AssistantParameters
    knowledge_base_ids: list[str]
    tool_ids: list[str]
    starters: list[str]


class AssistantQuery(ShelfQuery, kw_only=True):
    """`model`: those that use it, as they name it."""

    model: ModelName | None = None


@dataclass(frozen=True)
class Asked:
    """What a completion is asked of: a model, and the assistant that stands before it."""

    row: ModelRow
    assistant: Assistant | None


def create(tx: Transaction, caller: Caller, body: AssistantCreate) -> Assistant:
    """Make an assistant. Raises Conflict for a name that is taken, UnprocessableEntity for what can't be used."""
    slug = body.slug or slug_of(body.name, "asst")
    _refuse_models_name(tx, slug)
    _check_model(tx, caller, body.model)
    _check_parameters(body.parameters, has_tools=bool(body.tool_ids))
    _check_usable(tx, caller, BASES, "knowledge_base_ids", body.knowledge_base_ids)
    _check_usable(tx, caller, registry.TOOLS, "tool_ids", body.tool_ids)
    values = {
        "name": body.name,
        "slug": slug,
        "description": body.description,
        "model": body.model,
        "system_prompt": body.system_prompt,
        "parameters": json_text(body.parameters),
        "knowledge_base_ids": json_text(_unique(body.knowledge_base_ids)),
        "tool_ids": json_text(_unique(body.tool_ids)),
        "starters": json_text(body.starters),
    }
    return SHELF.add(tx, caller, values, visibility=body.visibility, shares=body.shares)


def patch(tx: Transaction, caller: Caller, current: Assistant, body: AssistantPatch) -> Assistant:
    """Change an assistant. Raises PermissionDenied, and what `create` raises."""
    values: dict[str, Any] = {
        name: value
        for name in ("name", "slug", "description", "model", "system_prompt")
        if (value := getattr(body, name)) is not UNSET
    }
    if body.slug is not UNSET:
        _refuse_models_name(tx, body.slug)
    if body.model is not UNSET:
        _check_model(tx, caller, body.model)
    parameters = current.parameters if body.parameters is UNSET else body.parameters
    tool_ids = current.tool_ids if body.tool_ids is UNSET else body.tool_ids
    _check_parameters(parameters, has_tools=bool(tool_ids))
    if body.parameters is not UNSET:
        values["parameters"] = json_text(body.parameters)
    # what was there already may be what only its owner can use
    for kind, field in ((BASES, "knowledge_base_ids"), (registry.TOOLS, "tool_ids")):
        if (ids := getattr(body, field)) is not UNSET:
            _check_usable(tx, caller, kind, field, ids, held=getattr(current, field))
            values[field] = json_text(_unique(ids))
    if body.starters is not UNSET:
        values["starters"] = json_text(body.starters)
    return SHELF.change(tx, caller, current, values, visibility=body.visibility, shares=body.shares)


def list_(db: Reader, caller: Caller, query: AssistantQuery) -> Page[Assistant]:
    """A page of the assistants that the caller may use."""
    if query.model is None:
        return SHELF.list_(db, caller, query)
    return SHELF.list_(db, caller, query, ["assistants.model = ?"], [query.model])


def with_tool(db: Reader, tool_id: str) -> list[str]:
    """The ids of all assistants that have this tool, whosever they are."""
    return [row[0] for row in db.all("SELECT id FROM assistants WHERE instr(tool_ids, ?) ORDER BY row_id", tool_id)]


def asked(db: Reader, caller: Caller, body: ChatRequest) -> Asked:
    """What `model` and `assistant_id` name: a model's id, an alias, an assistant of the caller's, shared, everyone's.

    With both, `model` takes the place of the assistant's. Raises NotFound, ValidationError when neither is there.
    """
    if body.assistant_id is not None:
        assistant = _named(db, caller, body.assistant_id)
        if assistant is None:
            raise NotFound("There is no such assistant.", code="assistant_not_found", param="assistant_id")
        return Asked(_model(db, caller, body.model or assistant.model), assistant)
    if not body.model:
        raise ValidationError("The 'model' field is required.", field="model", constraint="required")
    try:
        return Asked(_model(db, caller, body.model), None)
    except NotFound:
        assistant = _named(db, caller, body.model)
        if assistant is None:
            raise
    return Asked(_model(db, caller, assistant.model), assistant)


def applied(assistant: Assistant | None, body: ChatRequest) -> ChatRequest:
    """The request as the assistant would have it: its system prompt first, its parameters where nothing is said."""
    if assistant is None:
        return body
    given = {name: value for name, value in msgspec.structs.asdict(assistant.parameters).items() if value is not None}
    if body.max_completion_tokens is not None:
        given.pop("max_tokens", None)
    # where it is not for tools of the appliance it would mean the client's
    given.pop("tool_choice", None)
    left_out = {name: value for name, value in given.items() if getattr(body, name) is None}
    said = [Message(role="system", content=assistant.system_prompt)] if assistant.system_prompt else []
    return msgspec.structs.replace(body, messages=_as_one([*said, *body.messages]), **left_out)


def _as_one(conversation: list[Message]) -> list[Message]:
    """With one system message at the beginning where there were two: templates know no more."""
    if len(conversation) < 2 or conversation[0].role != "system" or conversation[1].role not in {"system", "developer"}:
        return conversation
    first, second = conversation[:2]
    theirs = second.content
    if not isinstance(theirs, str):
        return conversation
    return [Message(role="system", content=f"{first.content}\n\n{theirs}"), *conversation[2:]]


def _named(db: Reader, caller: Caller, name: str) -> Assistant | None:
    return SHELF.find(db, caller, name) if caller.may("assistants:read") else None


def _model(db: Reader, caller: Caller, name: str) -> ModelRow:
    row = catalogue.find(db, name)
    caller.require_model(row.id, name)
    return row


def _check_model(db: Reader, caller: Caller, name: str) -> None:
    try:
        row = catalogue.find(db, name)
    except NotFound as cause:
        raise UnprocessableEntity("There is no such model.", field="model", constraint="reference") from cause
    caller.require_model(row.id, name)
    if row.kind != "chat":
        raise UnprocessableEntity("The model makes no completions.", field="model", constraint="kind")


def _check_parameters(parameters: AssistantParameters, *, has_tools: bool) -> None:
    """As a completion's are checked: what it would be refused for is refused here."""
    given = msgspec.structs.asdict(parameters)
    request = ChatRequest(model="any", messages=[Message(role="user", content="")], **given)
    try:
        messages.stops(request)
        structured.json_format(request)
        if has_tools and (request.stop or (request.response_format and request.response_format.type != "text")):
            field = "stop" if request.stop else "response_format"
            raise UnprocessableEntity(f"With tools there can be no '{field}'.", field=field, constraint="supported")
    except (UnprocessableEntity, ValidationError) as failure:
        failure.param = failure.details["field"] = f"parameters.{failure.details.get('field', '')}"
        raise


def _check_usable(
    db: Reader, caller: Caller, kind: Shareable, field: str, ids: Sequence[str], *, held: Sequence[str] = ()
) -> None:
    """Raise UnprocessableEntity naming the first that is missing or not for the caller, as if it were the same."""
    where, params = sharing.visible_to(caller, kind)
    for number, thing_id in enumerate(ids):
        if thing_id in held:
            continue
        found = db.value(
            f"SELECT EXISTS (SELECT 1 FROM {kind.table} WHERE id = ? AND {where})",  # noqa: S608 (constants)
            *(thing_id, *params),
        )
        if not found:
            raise UnprocessableEntity(
                f"There is no such {kind.noun}.", field=f"{field}.{number}", constraint="reference"
            )


def _refuse_models_name(db: Reader, slug: str) -> None:
    try:
        catalogue.refuse_taken(db, slug)
    except Conflict as cause:
        raise Conflict(
            "A model has this name already: give the assistant another slug.", field="slug", constraint="unique"
        ) from cause


def _unique(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _read(common: dict[str, Any], row: Row) -> Assistant:
    slug, description, model, system_prompt, parameters, bases, tools, starters = row
    return Assistant(
        **common,
        slug=slug,
        description=description,
        model=model,
        system_prompt=system_prompt,
        parameters=msgspec.json.decode(parameters, type=AssistantParameters),
        knowledge_base_ids=msgspec.json.decode(bases, type=list[str]),
        tool_ids=msgspec.json.decode(tools, type=list[str]),
        starters=msgspec.json.decode(starters, type=list[str]),
    )


SHELF: Shelf[Assistant] = Shelf(
    Shareable("assistants", "assistant", ("name", "slug")),
    "asst",
    ("slug", "description", "model", "system_prompt", "parameters", "knowledge_base_ids", "tool_ids", "starters"),
    _read,
    search=("name", "description"),
)
OWNED = (SHELF.kind.owned(),)


@dataclass(frozen=True)
class Listed:
    """An entry of the list of models: a model or an alias, or an assistant of this id."""

    name: str
    assistant_id: str | None


_LISTED: ListSpec[Listed] = ListSpec(
    columns="listed.name, listed.assistant_id",
    source=f"""(
        SELECT n.row_id * 2 AS row_id, n.name, NULL AS assistant_id, n.created_at FROM {catalogue.NAMES} n
        UNION ALL
        SELECT a.row_id * 2 + 1, a.model, a.id, a.created_at FROM assistants a
        WHERE a.model IN (SELECT name FROM {catalogue.NAMES})
    ) AS listed LEFT JOIN assistants ON assistants.id = listed.assistant_id""",  # noqa: S608 (constants)
    read=lambda row: Listed(*row),
    sortable={"created_at": "listed.created_at"},
    row_id="listed.row_id",
    created_at="listed.created_at",
)


def list_with_models(db: Reader, caller: Caller, query: ListQuery) -> Page[Listed]:
    """A page of models, aliases and the caller's assistants, for clients that know only of models."""
    where, params = sharing.visible_to(caller, SHELF.kind)
    return list_page(db, _LISTED, query, where=f"listed.assistant_id IS NULL OR {where}", params=params)
