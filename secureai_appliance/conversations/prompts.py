"""Saved prompts: texts with `{{variables}}` to fill in."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from secureai_appliance.accounts.callers import Caller
from secureai_appliance.accounts.sharing import Shareable, Visibility
from secureai_appliance.accounts.shelf import Name, Possession, Shares, Shelf, ShelfQuery, Slug, json_text, slug_of
from secureai_appliance.core.errors import UnprocessableEntity, ValidationError
from secureai_appliance.store import Page, Reader, Row, Transaction

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]{0,63})\s*\}\}")
_MOST_VARIABLES = 100
_MOST_RENDERED = 1_000_000

Description = Annotated[str, Meta(max_length=1000)]
Content = Annotated[str, Meta(min_length=1, max_length=100_000)]
Tag = Annotated[str, Meta(min_length=1, max_length=50)]
Tags = Annotated[list[Tag], Meta(max_length=50)]


class PromptCreate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new prompt. Without a `slug` one is made of the name; `{{name}}` in `content` is a variable."""

    name: Name
    slug: Slug | None = None
    description: Description = ""
    content: Content
    tags: Tags = []
    visibility: Visibility = "private"
    shares: Shares = []


class PromptPatch(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a prompt; what is left out stays. Name, slug, visibility and shares are its owner's."""

    name: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    shares: Shares | UnsetType = UNSET


class Prompt(Possession, kw_only=True):
    """A saved prompt. `variables`: the names in its content, in the order in which they first come."""

    slug: str
    description: str
    content: str
    variables: list[str]
    tags: list[str]


class PromptQuery(ShelfQuery, kw_only=True):
    """`tag`: those that have it."""

    tag: Annotated[str, Meta(max_length=50)] | None = None


class PromptRender(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What to put in the place of each variable; the texts are taken as they are."""

    variables: Annotated[dict[str, str | int | float | bool], Meta(max_length=_MOST_VARIABLES)]


class RenderedPrompt(msgspec.Struct, kw_only=True):
    """The text with everything filled in."""

    prompt_id: str
    text: str


def create(tx: Transaction, caller: Caller, body: PromptCreate) -> Prompt:
    """Save a prompt. Raises Conflict for a name or slug that is taken, ValidationError."""
    _variables(body.content)
    values = {
        "name": body.name,
        "slug": body.slug or slug_of(body.name, "prompt"),
        "description": body.description,
        "content": body.content,
        "tags": json_text(_unique(body.tags)),
    }
    return SHELF.add(tx, caller, values, visibility=body.visibility, shares=body.shares)


def patch(tx: Transaction, caller: Caller, current: Prompt, body: PromptPatch) -> Prompt:
    """Change a prompt. Raises PermissionDenied, and what `create` raises."""
    values: dict[str, Any] = {
        name: value
        for name in ("name", "slug", "description", "content")
        if (value := getattr(body, name)) is not UNSET
    }
    if body.content is not UNSET:
        _variables(body.content)
    if body.tags is not UNSET:
        values["tags"] = json_text(_unique(body.tags))
    return SHELF.change(tx, caller, current, values, visibility=body.visibility, shares=body.shares)


def list_(db: Reader, caller: Caller, query: PromptQuery) -> Page[Prompt]:
    """A page of the prompts that the caller may read."""
    if query.tag is None:
        return SHELF.list_(db, caller, query)
    return SHELF.list_(
        db, caller, query, ["EXISTS (SELECT 1 FROM json_each(prompts.tags) WHERE value = ?)"], [query.tag]
    )


def render(prompt: Prompt, body: PromptRender) -> RenderedPrompt:
    """The prompt with its variables filled in, once: what is filled in is not looked at again.

    Raises UnprocessableEntity naming every variable without a value, ValidationError for one that it doesn't have.
    """
    missing = [name for name in prompt.variables if name not in body.variables]
    if missing:
        raise UnprocessableEntity(
            f"These variables have no value: {', '.join(missing)}.",
            field=f"variables.{missing[0]}",
            constraint="required",
            details={"missing": missing},
        )
    for name in body.variables:
        if name not in prompt.variables:
            raise ValidationError(
                "The prompt has no such variable.", field=f"variables.{name[:64]}", constraint="unknown"
            )
    values = {name: _written(value) for name, value in body.variables.items()}
    grown = sum(len(values[found[1]]) - len(found[0]) for found in _VARIABLE.finditer(prompt.content))
    # before it is made: a short prompt can ask for more than there is memory
    if len(prompt.content) + grown > _MOST_RENDERED:
        raise UnprocessableEntity("The text would be too long.", field="variables", constraint="max_length")
    text = _VARIABLE.sub(lambda found: values[found[1]], prompt.content)
    return RenderedPrompt(prompt_id=prompt.id, text=text)


def _variables(content: str) -> list[str]:
    """The names, each once. Raises ValidationError when there are too many."""
    names = _unique(_VARIABLE.findall(content))
    if len(names) > _MOST_VARIABLES:
        raise ValidationError(
            f"A prompt has at most {_MOST_VARIABLES} variables.", field="content", constraint="max_items"
        )
    return names


def _unique(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _written(value: str | int | float | bool) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _read(common: dict[str, Any], row: Row) -> Prompt:
    slug, description, content, tags = row
    return Prompt(
        **common,
        slug=slug,
        description=description,
        content=content,
        variables=_variables(content),
        tags=msgspec.json.decode(tags, type=list[str]),
    )


SHELF: Shelf[Prompt] = Shelf(
    Shareable("prompts", "prompt", ("name", "slug")),
    "prompt",
    ("slug", "description", "content", "tags"),
    _read,
    search=("name", "description", "content"),
)
OWNED = (SHELF.kind.owned(),)
