"""Promise 17: a client generated from the document finds no 5xx and no answer that the document does not have.

The routes that run a model are asked elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from secureai_appliance.web import openapi
from secureai_appliance.web.gateway import Gateway
from secureai_appliance.web.route import Route
from secureai_appliance.web.routes import route_table
from tests.support.clock import FakeClock
from tests.support.web import App, app_on

NO_MODEL = ("/api/v1/keys", "/api/v1/me", "/healthz", "/readyz", "/metrics", "/api/v1/openapi.json")
ROUTES = [route for route in route_table() if route.path.startswith(NO_MODEL)]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with app_on(tmp_path_factory.mktemp("generated"), FakeClock()) as app:
        app.gateway = Gateway(app.parts, ROUTES)
        yield app


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_generated_client_finds_nothing_undocumented(product: App, route: Route, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(openapi.document(ROUTES))
    schema.app = product.gateway
    operation = schema[route.path][route.method]
    if mode is GenerationMode.NEGATIVE and not (route.body or route.query):
        pytest.skip("it has nothing that could be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    def ask(case: Any) -> None:
        # what a value means (a date that lies ahead, a scope that exists) is more than its schema can say
        case.call_and_validate(
            headers={"Authorization": f"Bearer {product.key}"}, excluded_checks=[positive_data_acceptance]
        )

    ask()
