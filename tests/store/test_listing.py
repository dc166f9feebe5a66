"""Ruling 21 and promise 12: lists that repeat and miss nothing while others insert, and refuse what makes no sense."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable

import msgspec
import pytest

from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.errors import ValidationError
from secureai_appliance.store import ListQuery, ListSpec, Page, Store, list_page
from tests.support.clock import FakeClock
from tests.support.rows import names_in, write_user

SPEC: ListSpec[str] = ListSpec(
    columns="name",
    source="users",
    read=lambda row: str(row[0]),
    sortable={"created_at": "created_at", "name": "name"},
    search=("name", "email"),
)


def page(store: Store, where: str = "", params: tuple[object, ...] = (), **query: object) -> Page[str]:
    with store.read() as db:
        return list_page(db, SPEC, msgspec.convert(query, ListQuery), where=where, params=params)


def insert(store: Store, clock: FakeClock, count: int, prefix: str = "u", per_second: int = 3) -> list[str]:
    """Users in the order of their creation, several of them in the same second."""
    made = [f"{prefix}{n:03d}" for n in range(count)]
    for n, name in enumerate(made):
        write_user(store, name)
        if n % per_second == per_second - 1:
            clock.advance(1)
    return made


def walk_by_cursor(store: Store, between: Callable[[], object] = lambda: None, **query: object) -> list[str]:
    found: list[str] = []
    current = page(store, **query)
    for number in range(1, 1000):
        assert current.page == number
        found += current.data
        if current.next is None:
            return found
        between()
        current = page(store, page_size=query.get("page_size", 20), cursor=current.next)
    raise AssertionError


def walk_by_page(store: Store, between: Callable[[], object] = lambda: None, **query: object) -> list[str]:
    found: list[str] = []
    for number in range(1, 1000):
        current = page(store, page=number, **query)
        found += current.data
        if len(current.data) < current.page_size:
            return found
        between()
    raise AssertionError


def test_an_empty_list_is_one_empty_page(store: Store) -> None:
    assert page(store) == Page(data=[], total=0, page=1, page_size=20, next=None)


def test_the_newest_comes_first_unless_asked_otherwise(store: Store, clock: FakeClock) -> None:
    made = insert(store, clock, 7)
    assert page(store).data == made[::-1]
    assert page(store, sort="created_at").data == made
    assert page(store, sort="-name").data == made[::-1]


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "name", "-name"])
@pytest.mark.parametrize("page_size", [1, 2, 7, 23, 100])
def test_total_and_every_page_agree_with_a_full_walk(store: Store, clock: FakeClock, sort: str, page_size: int) -> None:
    made = insert(store, clock, 23)
    expected = made[::-1] if sort.startswith("-") else made
    assert walk_by_cursor(store, sort=sort, page_size=page_size) == expected
    assert walk_by_page(store, sort=sort, page_size=page_size) == expected
    assert page(store, page_size=page_size).total == 23


def test_the_last_page_has_no_next(store: Store, clock: FakeClock) -> None:
    insert(store, clock, 6)
    first = page(store, page_size=3)
    assert first.next is not None
    assert page(store, page_size=3, cursor=first.next).next is None
    assert page(store, page_size=6).next is None
    assert page(store, page=9).data == []


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_a_walk_by_cursor_repeats_and_misses_nothing_while_others_insert(
    store: Store, clock: FakeClock, sort: str
) -> None:
    made = insert(store, clock, 30)
    rounds = iter(range(1000))

    def between() -> None:
        # the clock goes back now and then, and in the same second there is more than one
        clock.set(clock.now() - 2)
        if (n := next(rounds)) < 20:
            insert(store, clock, 2, prefix=f"late{n:03d}-")

    found = walk_by_cursor(store, between, sort=sort, page_size=4)
    assert len(found) == len(set(found))
    assert [name for name in found if name in made] == (made if sort == "created_at" else made[::-1])
    if sort == "created_at":
        assert set(found) == names_in(store)
        assert len(found) > 50


def test_a_walk_by_page_from_the_oldest_repeats_and_misses_nothing_while_others_insert(
    store: Store, clock: FakeClock
) -> None:
    made = insert(store, clock, 30)
    rounds = iter(range(1000))

    def between() -> None:
        clock.set(clock.now() - 2)
        if (n := next(rounds)) < 20:
            insert(store, clock, 2, prefix=f"late{n:03d}-")

    found = walk_by_page(store, between, sort="created_at", page_size=4)
    assert len(found) == len(set(found)) > 50
    assert set(found) == names_in(store)
    assert found[:30] == made


def test_walks_repeat_and_miss_nothing_while_threads_insert(store: Store) -> None:
    store._writer._clock = SystemClock()
    for n in range(40):
        write_user(store, f"u{n:03d}")
    enough = threading.Event()

    def work(thread: int) -> None:
        for n in range(300):
            if enough.is_set():
                return
            write_user(store, f"t{thread}-{n}")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    walks = [walk_by_cursor(store, page_size=7) for _ in range(3)]
    walks += [walk_by_cursor(store, sort="created_at", page_size=50)]
    walks += [walk_by_page(store, sort="created_at", page_size=50)]
    enough.set()
    for thread in threads:
        thread.join()
    for found in walks:
        assert len(found) == len(set(found))
        assert {f"u{n:03d}" for n in range(40)} <= set(found)


def test_a_place_in_the_order_is_not_given_out_twice(store: Store, clock: FakeClock) -> None:
    """A cursor may stand on the newest row; if that goes and its number came back, the next row would be missed."""
    insert(store, clock, 4, per_second=100)
    first = page(store, sort="created_at", page_size=3)
    with store.transaction() as tx:
        tx.run("DELETE FROM users WHERE name IN ('u002', 'u003')")
    write_user(store, "later")
    assert page(store, cursor=first.next).data == ["later"]


def test_filters_apply_to_data_total_and_pages(store: Store, clock: FakeClock) -> None:
    made = insert(store, clock, 10)
    found = page(store, where="name > ? OR name = 'u000'", params=("u004",), page_size=2, sort="created_at")
    assert (found.data, found.total) == (["u000", "u005"], 6)
    with store.read() as db:
        rest = list_page(db, SPEC, ListQuery(cursor=found.next), where="name > ? OR name = 'u000'", params=("u004",))
    assert rest.data == made[6:]
    assert rest.total == 6


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"created_after": "2026-02-02T02:40:01Z"}, [3, 4, 5, 6, 7, 8]),
        ({"created_after": "2026-02-02T03:40:01+01:00"}, [3, 4, 5, 6, 7, 8]),
        ({"created_after": "2026-02-02T02:40:00.5Z"}, [3, 4, 5, 6, 7, 8]),
        ({"created_after": "2026-02-02T02:40:01.000Z"}, [3, 4, 5, 6, 7, 8]),
        ({"created_before": "2026-02-02T02:40:02Z"}, [0, 1, 2, 3, 4, 5]),
        ({"created_before": "2026-02-02T02:40:01.5Z"}, [0, 1, 2, 3, 4, 5]),
        ({"created_after": "2026-02-02T02:40:01Z", "created_before": "2026-02-02T02:40:02Z"}, [3, 4, 5]),
        ({"created_after": "2026-02-02"}, list(range(9))),
        ({"created_before": "2026-02-02"}, []),
        ({"created_after": "2026-02-03"}, []),
        ({"created_before": "2026-02-03", "created_after": "0001-01-01"}, list(range(9))),
    ],
)
def test_created_after_is_inclusive_and_created_before_exclusive(
    store: Store, clock: FakeClock, query: dict[str, str], expected: list[int]
) -> None:
    clock.set(1_770_000_000)  # 2026-02-02T02:40:00Z
    made = insert(store, clock, 9)
    found = page(store, sort="created_at", **query)
    assert found.data == [made[n] for n in expected]
    assert found.total == len(expected)


def test_search_takes_every_character_as_it_is(store: Store) -> None:
    for name in ("a%b", "a_b", "aXb", "a\\b", "Cab"):
        write_user(store, name)
    assert page(store, q="a%b").data == ["a%b"]
    assert page(store, q="a_b").data == ["a_b"]
    assert page(store, q="\\").data == ["a\\b"]
    assert page(store, q="CA").data == ["Cab"]
    assert page(store, q="@example.test").total == 5


def forged(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


BAD = [
    ({"page": 0}, "page", "minimum"),
    ({"page": -1}, "page", "minimum"),
    ({"page": 10**18}, "page", "maximum"),
    ({"page_size": 0}, "page_size", "minimum"),
    ({"page_size": -1}, "page_size", "minimum"),
    ({"page_size": 101}, "page_size", "maximum"),
    ({"sort": "password_hash"}, "sort", "enum"),
    ({"sort": "name; DROP TABLE users"}, "sort", "enum"),
    ({"sort": "--name"}, "sort", "enum"),
    ({"sort": "-"}, "sort", "enum"),
    ({"created_after": "yesterday"}, "created_after", "format"),
    ({"created_after": ""}, "created_after", "format"),
    ({"created_after": "2026-02-30"}, "created_after", "format"),
    ({"created_after": "20260201"}, "created_after", "format"),
    ({"created_after": "2026-W05-1"}, "created_after", "format"),
    ({"created_before": "2026-03-01T10:30:00"}, "created_before", "format"),
    ({"created_before": "2026-03-01T25:30:00Z"}, "created_before", "format"),
    ({"created_before": "0000-01-01"}, "created_before", "format"),
    ({"created_before": "2026-03-01 "}, "created_before", "format"),
    ({"q": "x" * 201}, "q", "max_length"),
    ({"cursor": ""}, "cursor", "format"),
    ({"cursor": "nonsense"}, "cursor", "format"),
    ({"cursor": "ä"}, "cursor", "format"),
    ({"cursor": "a" * 1001}, "cursor", "format"),
    ({"cursor": forged("created_at", 1, 1)}, "cursor", "format"),
    ({"cursor": forged("created_at", 1.5, 1, 2)}, "cursor", "format"),
    ({"cursor": forged("created_at", None, 1, 2)}, "cursor", "format"),
    ({"cursor": forged("created_at", 2**63, 1, 2)}, "cursor", "format"),
    ({"cursor": forged("created_at", 1, 2**70, 2)}, "cursor", "format"),
    ({"cursor": forged("created_at", 1, 1, 0)}, "cursor", "format"),
    ({"cursor": forged("name", "\ud800", 1, 2)}, "cursor", "format"),
    ({"cursor": forged("created_at", 1, 1, 2), "sort": "name"}, "cursor", "sort"),
    ({"cursor": forged("created_at", 1, 1, 2), "page": 3}, "page", "exclusive"),
    ({"cursor": forged("secret", 1, 1, 2)}, "sort", "enum"),
]


@pytest.mark.parametrize(("query", "field", "constraint"), BAD, ids=[str(query)[:60] for query, _, _ in BAD])
def test_bad_values_are_refused_with_their_field(
    store: Store, query: dict[str, object], field: str, constraint: str
) -> None:
    with store.read() as db, pytest.raises(ValidationError) as caught:
        list_page(db, SPEC, ListQuery(**query))  # type: ignore[arg-type]
    assert caught.value.details == {"field": field, "constraint": constraint}


@pytest.mark.parametrize(
    "query", [{"page_size": "x"}, {"page_size": "101"}, {"page": "0"}, {"page": "1.5"}, {"limit": "3"}]
)
def test_the_query_struct_refuses_bad_values_before_they_get_here(query: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(query, ListQuery, strict=False)


def test_a_list_that_can_not_be_searched_says_so(store: Store) -> None:
    spec = ListSpec(columns="id", source="models", read=str, sortable=SPEC.sortable)
    with store.read() as db, pytest.raises(ValidationError) as caught:
        list_page(db, spec, ListQuery(q="x"))
    assert caught.value.details == {"field": "q", "constraint": "unsupported"}
