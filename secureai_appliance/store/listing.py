"""Lists: pages by number or by cursor, filtered by time and text, in an order that insertions don't disturb."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from secureai_appliance.core.clock import parse_rfc3339
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.store.reader import Reader, Row

PAGE_SIZE_DEFAULT = 20
PAGE_SIZE_MAX = 100
PAGE_MAX = 1_000_000_000
SEARCH_MAX = 200
CURSOR_MAX = 1000

_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?", re.ASCII)

T = TypeVar("T")


class ListQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every list takes. Times are dates (midnight UTC) or RFC 3339 date-times."""

    page: Annotated[int, Meta(ge=1, le=PAGE_MAX, description="The page's number, from 1.")] = 1
    page_size: Annotated[int, Meta(ge=1, le=PAGE_SIZE_MAX, description="Items on a page.")] = PAGE_SIZE_DEFAULT
    sort: Annotated[str, Meta(description="A field to sort by, descending with a leading `-`.")] | None = None
    cursor: (
        Annotated[str, Meta(max_length=CURSOR_MAX, description="`next` of the page before; takes the place of `page`.")]
        | None
    ) = None
    created_after: Annotated[str, Meta(description="Not older than this date or date-time (inclusive).")] | None = None
    created_before: Annotated[str, Meta(description="Older than this date or date-time (exclusive).")] | None = None
    q: (
        Annotated[str, Meta(max_length=SEARCH_MAX, description="Text to look for, where searching is possible.")] | None
    ) = None


class Page(msgspec.Struct, Generic[T], kw_only=True):
    """One page of a list. `next` is the cursor of the page after it, null on the last one."""

    data: list[T]
    total: int
    page: int
    page_size: int
    next: str | None


@dataclass(frozen=True)
class ListSpec(Generic[T]):
    """How one list is read: constant SQL, nothing of it from the caller.

    `source` is what stands after FROM, with the columns `row_id` (unique, growing) and `created_at`. `sortable` maps
    the names that `sort` takes to expressions that are never NULL. `search` are the expressions that `q` looks into.
    `read` makes an item of the row of `columns`.
    """

    columns: str
    source: str
    read: Callable[[Row], T]
    sortable: Mapping[str, str]
    search: tuple[str, ...] = ()
    row_id: str = "row_id"
    created_at: str = "created_at"
    default_sort: str = "-created_at"


Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Position(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What a cursor holds: the order, the last item's place in it, and the number of the page that follows."""

    sort: str
    key: Int64 | str
    row_id: Int64
    page: Annotated[int, Meta(ge=2, le=PAGE_MAX)]


def list_page(
    db: Reader, spec: ListSpec[T], query: ListQuery, *, where: str = "", params: tuple[Any, ...] = ()
) -> Page[T]:
    """One page; `total` counts what the filters leave, in the same state of the store.

    `where` is constant SQL (access filter, the list's own filters) with `params`. Raises ValidationError.
    """
    position = _position(query)
    sort, expression, descending = _order(spec, query, position)
    _check_numbers(query, position)
    conditions, values = filters(spec, query)
    if where:
        conditions, values = [f"({where})", *conditions], [*params, *values]
    filtered = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    counting = f"SELECT COUNT(*) FROM {spec.source}{filtered}", *values  # noqa: S608 (constant fragments)

    if position is not None:
        conditions.append(f"({expression}, {spec.row_id}) {'<' if descending else '>'} (?, ?)")
        values += [position.key, position.row_id]
        filtered = f" WHERE {' AND '.join(conditions)}"
    number = query.page if position is None else position.page
    offset = (number - 1) * query.page_size if position is None else 0
    direction = "DESC" if descending else "ASC"
    rows = db.all(
        f"SELECT {expression}, {spec.row_id}, {spec.columns} FROM {spec.source}{filtered}"  # noqa: S608 (as above)
        f" ORDER BY {expression} {direction}, {spec.row_id} {direction} LIMIT ? OFFSET ?",
        *values,
        query.page_size + 1,
        offset,
    )
    shown = rows[: query.page_size]
    more = len(rows) > len(shown)
    # a list that ends on this page was counted by reading it
    ends = not more and position is None and (shown or not offset)
    total: int = offset + len(shown) if ends else db.value(*counting)
    return Page(
        data=[spec.read(row[2:]) for row in shown],
        total=total,
        page=number,
        page_size=query.page_size,
        next=_cursor(_Position(sort, shown[-1][0], shown[-1][1], number + 1)) if more and number < PAGE_MAX else None,
    )


def _order(spec: ListSpec[T], query: ListQuery, position: _Position | None) -> tuple[str, str, bool]:
    """The name of the order, its SQL expression, and whether it descends."""
    sort = query.sort or (position.sort if position else spec.default_sort)
    if position is not None and position.sort != sort:
        raise ValidationError("The 'cursor' belongs to another 'sort'.", field="cursor", constraint="sort")
    expression = spec.sortable.get(sort.removeprefix("-"))
    if expression is None:
        choices = ", ".join(f"{name}, -{name}" for name in spec.sortable)
        raise ValidationError(f"The 'sort' must be one of {choices}.", field="sort", constraint="enum")
    return sort, expression, sort.startswith("-")


def _check_numbers(query: ListQuery, position: _Position | None) -> None:
    _within("page", query.page, PAGE_MAX)
    _within("page_size", query.page_size, PAGE_SIZE_MAX)
    if position is not None and query.page != 1:
        raise ValidationError("Give either 'page' or 'cursor', not both.", field="page", constraint="exclusive")


def _within(field: str, value: int, maximum: int) -> None:
    if value < 1:
        raise ValidationError(f"The '{field}' must be at least 1.", field=field, constraint="minimum")
    if value > maximum:
        raise ValidationError(f"The '{field}' must be at most {maximum}.", field=field, constraint="maximum")


def filters(spec: ListSpec[T], query: ListQuery) -> tuple[list[str], list[Any]]:
    """What every list filters by, as constant SQL conditions and their parameters. Raises ValidationError."""
    conditions: list[str] = []
    values: list[Any] = []
    if query.created_after is not None:
        conditions.append(f"{spec.created_at} >= ?")
        values.append(_seconds("created_after", query.created_after))
    if query.created_before is not None:
        conditions.append(f"{spec.created_at} < ?")
        values.append(_seconds("created_before", query.created_before))
    if query.q:
        if not spec.search:
            raise ValidationError("This list can't be searched: leave 'q' out.", field="q", constraint="unsupported")
        if len(query.q) > SEARCH_MAX:
            raise ValidationError(f"The 'q' has at most {SEARCH_MAX} characters.", field="q", constraint="max_length")
        conditions.append("(" + " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in spec.search) + ")")
        values += [_containing(query.q)] * len(spec.search)
    return conditions, values


def _containing(text: str) -> str:
    return "%" + re.sub(r"([%_\\])", r"\\\1", text) + "%"


def _seconds(field: str, text: str) -> int:
    """The first whole second that is not before `text`: stored times are whole seconds."""
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        seconds = parse_rfc3339(text)
    except (ValueError, OverflowError) as cause:
        raise ValidationError(
            f"The '{field}' must be a date (2026-03-01) or a date-time (2026-03-01T10:30:00Z).",
            field=field,
            constraint="format",
        ) from cause
    return seconds + 1 if (found[2] or "").strip(".0") else seconds


def _cursor(position: _Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _position(query: ListQuery) -> _Position | None:
    if query.cursor is None:
        return None
    text = query.cursor
    try:
        if len(text) > CURSOR_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=_Position)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as cause:
        raise ValidationError(
            "The 'cursor' is not one that this list gave out.", field="cursor", constraint="format"
        ) from cause
