"""Promise 17: the document, the page and the route table agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import openapi_spec_validator
import pytest

from secureai_appliance.web import docs, openapi, static
from secureai_appliance.web.route import Access, Route
from secureai_appliance.web.routes import route_table
from tests.support.web import App
from tests.support.web_routes import Behaviour, routes

TABLES = [pytest.param(route_table(), id="product"), pytest.param(routes(Behaviour()), id="machinery")]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@pytest.mark.parametrize("table", TABLES)
def test_the_document_is_valid(table: tuple[Route, ...]) -> None:
    openapi_spec_validator.validate(openapi.document(table))


@pytest.mark.parametrize("table", TABLES)
def test_the_document_and_the_table_agree(table: tuple[Route, ...]) -> None:
    described = {(method, path): operation for method, path, operation in operations(openapi.document(table))}
    assert set(described) == {(route.method, route.path) for route in table if route.tag}
    for route in table:
        if not route.tag:
            continue
        operation = described[route.method, route.path]
        assert (operation["security"] == []) == (route.access is Access.PUBLIC)
        assert str(route.status) in operation["responses"]
        assert ("requestBody" in operation) == (
            route.body is not None or bool(route.raw) or route.multipart is not None
        )
        parameters = {(parameter["in"], parameter["name"]) for parameter in operation.get("parameters", [])}
        assert {name for where, name in parameters if where == "path"} == set(re.findall(r"{(\w+)}", route.path))
        if route.query is not None:
            assert {name for where, name in parameters if where == "query"} == set(route.query.__struct_encode_fields__)


@pytest.mark.parametrize("table", TABLES)
def test_no_two_routes_or_operations_are_the_same(table: tuple[Route, ...]) -> None:
    assert len({(route.method, route.path) for route in table}) == len(table)
    ids = [operation["operationId"] for _, _, operation in operations(openapi.document(table))]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("table", TABLES)
def test_every_route_that_is_not_openai_s_refuses_unknown_fields(table: tuple[Route, ...]) -> None:
    for route in table:
        for kind in (route.body, route.query):
            if kind is not None and route.path.startswith("/api/") and not route.openai:
                assert kind.__struct_config__.forbid_unknown_fields, route.path
        if route.openai and route.body is not None:
            assert not route.body.__struct_config__.forbid_unknown_fields, route.path


@pytest.mark.parametrize("table", TABLES)
def test_no_route_writes_while_it_holds_a_place(table: tuple[Route, ...]) -> None:
    assert not [route.path for route in table if route.writes and route.streams]


def test_the_error_types_are_all_documented() -> None:
    from secureai_appliance.core.errors import every_failure

    schema = openapi.document(route_table())["components"]["schemas"]["ErrorBody"]
    assert schema["properties"]["type"]["enum"] == [failure.type for failure in every_failure()]


def test_a_replay_without_its_secret_fits_the_document(app: App) -> None:
    import jsonschema

    document = openapi.document(routes(app.does))
    schema = {**document["components"]["schemas"]["ThingCreated"], "components": document["components"]}
    for _ in range(2):
        got = app.call("POST", "/api/v1/things", {"name": "a"}, headers={"Idempotency-Key": "k"})
        jsonschema.validate(got.json, schema)


def test_the_document_is_served_with_an_etag_and_without_a_key(product: App) -> None:
    got = product.call("GET", "/api/v1/openapi.json", key=None)
    assert got.status == 200
    assert got.json["openapi"] == "3.1.0"
    again = product.call("GET", "/api/v1/openapi.json", key=None, headers={"If-None-Match": got.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.fixture
def product(app: App) -> App:
    """The product's own table; what needs a model is not asked here."""
    from secureai_appliance.web.gateway import Gateway

    app.gateway = Gateway(app.parts, route_table())
    return app


class Page(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids, f"two of #{value}"
                self.ids.add(value or "")
            if name in {"href", "src", "action"}:
                self.links.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(name)


@pytest.mark.parametrize("table", TABLES)
def test_the_page_shows_every_route_with_an_example_and_no_dead_link(table: tuple[Route, ...]) -> None:
    text = docs.page(table)
    page = Page(text)
    document = openapi.document(table)
    for method, path, operation in operations(document):
        assert operation["operationId"] in page.ids
        assert f"http://localhost:8080{path}" in text, (method, path)
    assert set(document["components"]["schemas"]) <= page.ids
    assert [link for link in page.links if link.startswith("#") and link[1:] not in page.ids] == []


def test_the_page_needs_no_script_and_nothing_from_elsewhere(product: App) -> None:
    got = product.call("GET", "/docs", key=None)
    assert got.status == 200
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(got.body.decode())
    assert "script" not in page.tags
    assert page.inline == []
    assert [link for link in page.links if not link.startswith(("#", "/"))] == []
    for link in page.links:
        if link.startswith("/"):
            assert product.call("GET", link, key=None).status == 200


def test_examples_of_bodies_are_accepted_by_their_structs() -> None:
    import msgspec

    for route in route_table():
        if route.body is None or not route.tag:
            continue
        document = openapi.document(route_table())
        operation = document["paths"][route.path][route.method.lower()]
        made = docs._example(document, operation["requestBody"]["content"]["application/json"]["schema"])
        for example in (made, route.example or made):
            msgspec.convert(json.loads(json.dumps(example)), route.body)


def test_a_versioned_file_is_kept_for_ever_and_another_checked(product: App) -> None:
    versioned = product.call("GET", static.link("site.css"), key=None)
    assert versioned.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in versioned.headers["cache-control"]
    plain = product.call("GET", "/static/site.css?v=old", key=None)
    assert plain.headers["cache-control"] == "public, no-cache"
    again = product.call("GET", "/static/site.css", key=None, headers={"If-None-Match": plain.headers["etag"]})
    assert again.status == 304


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fpyproject.toml", "../docs.html", "%2e%2e/templates/docs.html", "docs.html", ".", "", "site.css%00"],
)
def test_no_other_file_can_be_named(product: App, name: str) -> None:
    assert product.call("GET", f"/static/{name}", key=None).status == 404
