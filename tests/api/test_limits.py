"""Promise 9, and limits over real sockets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.core.ids import new_id
from secureai_appliance.web.route import Route
from secureai_appliance.web.routes import route_table
from tests.support import limits
from tests.support.limits import lift_limits
from tests.support.running import Response, Running

ROUTES = route_table()
HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy")


def check(answer: Response) -> None:
    """Both families are there and say the same."""
    for header in HEADERS:
        assert header in answer.headers, (answer.status, header)
    assert re.fullmatch(r"req-\w+", answer.headers["x-request-id"])
    policy = re.fullmatch(r'"([a-z-]+)";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    now = re.fullmatch(r'"([a-z-]+)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert policy is not None
    assert now is not None
    assert policy[1] == now[1]
    assert policy[2] == answer.headers["x-ratelimit-limit"]
    assert now[2] == answer.headers["x-ratelimit-remaining"]


def path(route: Route) -> str:
    return re.sub(r"\{\w+\}", "none", route.path)


@pytest.mark.parametrize("key", ["", None, "sk-wrong"], ids=["valid", "none", "wrong"])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_answer_of_every_route_tells_the_limits(api: Running, route: Route, key: str | None) -> None:
    check(api.ask(route.method, path(route), b"{}" if route.body else None, key=key))


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/api/v1/nothing", {}),
        ("GET", "/api/v2/models", {}),
        ("TRACE", "/api/v1/me", {}),
        ("OPTIONS", "/api/v1/me", {}),
        ("HEAD", "/api/v1/me", {}),
        ("BREW", "/api/v1/me", {}),
        ("GET", "/api/v1/me", {"Host": "elsewhere.example.org"}),
        ("GET", "/api/v1/me", {"X-Long": "x" * 40_000}),
        ("POST", "/api/v1/keys", {"Transfer-Encoding": "gzip"}),
    ],
)
def test_every_answer_beside_the_routes_tells_the_limits(
    api: Running, method: str, target: str, headers: dict[str, str]
) -> None:
    check(api.ask(method, target, headers=headers))


def test_streams_errors_of_streams_and_304_tell_the_limits(api: Running) -> None:
    check(api.chat("Hello", stream=True))
    check(api.chat("Hello " * 3000, stream=True))
    tag = api.ask("GET", "/api/v1/me").headers["etag"]
    check(api.ask("GET", "/api/v1/me", headers={"If-None-Match": tag}))


@pytest.fixture
def free(api: Running) -> Iterator[str]:
    """A key of a user in a tier with few of everything."""
    few = {"requests_per_minute": None, "requests_per_day": 6, "completions_per_day": 2, "concurrent_requests": None}
    nothing = dict.fromkeys(("completions_per_minute", "concurrent_completions"))
    set_tier(api, {**few, **nothing})
    yield api.make_user(f"{new_id('limited')}@example.org")
    lift_limits(api.appliance.store, api.appliance.configs)


def set_tier(api: Running, bounds: dict[str, Any]) -> None:
    limits.set_tier(api.appliance.store, api.appliance.configs, bounds)


def test_the_request_over_the_limit_is_429_in_the_contracts_words(api: Running, free: str) -> None:
    # the day's window: no minute's end comes in between
    left = [api.ask("GET", "/api/v1/me", key=free).headers["x-ratelimit-remaining"] for _ in range(6)]
    assert left == ["5", "4", "3", "2", "1", "0"]
    refused = api.ask("GET", "/api/v1/me", key=free)
    error = refused.json["error"]
    assert refused.status == 429
    assert error["type"] == "rate_limit_exceeded"
    assert error["message"] == f"Rate limit exceeded. Retry after {error['retry_after']} seconds."
    assert refused.headers["retry-after"] == str(error["retry_after"])
    assert refused.headers["ratelimit"] == f'"requests-day";r=0;t={error["retry_after"]}'
    check(refused)
    assert api.ask("GET", "/api/v1/me").status == 200
    api.ask("PUT", "/api/v1/configs/limits.enabled", {"value": False})
    unlimited = api.ask("GET", "/api/v1/me", key=free)
    assert (unlimited.status, unlimited.headers["x-ratelimit-limit"]) == (200, "2147483647")
    api.ask("DELETE", "/api/v1/configs/limits.enabled")


def test_a_304_costs_nothing_and_what_is_forbidden_or_wrong_does(api: Running, free: str) -> None:
    first = api.ask("GET", "/api/v1/me", key=free)
    for _ in range(3):
        same = api.ask("GET", "/api/v1/me", key=free, headers={"If-None-Match": first.headers["etag"]})
        assert (same.status, same.headers["x-ratelimit-remaining"]) == (304, "5")
    assert api.ask("GET", "/api/v1/configs", key=free).headers["x-ratelimit-remaining"] == "4"
    assert api.ask("POST", "/api/v1/keys", b"{", key=free).headers["x-ratelimit-remaining"] == "3"


def test_an_answer_given_again_and_a_503_cost_nothing(api: Running, free: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"model": "text-embedding-3-small", "input": "Hello"}
    once, once2 = ({"Idempotency-Key": new_id("once")} for _ in range(2))
    for _ in range(3):
        answer = api.ask("POST", "/api/v1/embeddings", asked, key=free, headers=once)
        assert (answer.status, answer.headers["ratelimit"].partition(";t")[0]) == (200, '"completions-day";r=1')
    for _ in range(3):
        assert api.ask("POST", "/api/v1/prompts", {"name": "p", "content": "c"}, key=free, headers=once2).status == 201
    assert counts(api, free)["requests-day"] == 3  # and what asks for the counts

    def busy(row: object) -> None:
        raise ServiceUnavailable("The model is busy.", retry_after=1)

    monkeypatch.setattr(api.appliance.models, "embedding", busy)
    for _ in range(3):
        refused = api.ask("POST", "/api/v1/embeddings", asked, key=free)
        assert (refused.status, refused.headers["x-ratelimit-remaining"]) == (503, "3")
    used = counts(api, free)
    assert (used["requests-day"], used["completions-day"]) == (4, 1)


def test_completions_have_a_limit_of_their_own(api: Running, free: str) -> None:
    request = {"model": "text-embedding-3-small", "input": "Hello"}
    left = [api.ask("POST", "/api/v1/embeddings", request, key=free) for _ in range(3)]
    assert [answer.status for answer in left] == [200, 200, 429]
    assert left[0].headers["ratelimit-policy"] == '"completions-day";q=2;w=86400'
    assert api.ask("GET", "/api/v1/me", key=free).status == 200
    windows = {window["name"]: window for window in api.ask("GET", "/api/v1/me/limits", key=free).json["windows"]}
    assert windows["completions-day"]["remaining"] == 0
    assert windows["requests-day"]["used"] == 4


def test_bounds_of_ones_own_take_the_place_of_the_tiers(api: Running, free: str) -> None:
    user_id = api.ask("GET", "/api/v1/me", key=free).json["id"]
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET limits = ? WHERE id = ?", '{"requests_per_day": 50}', user_id)
    assert api.ask("GET", "/api/v1/me", key=free).headers["x-ratelimit-limit"] == "50"
    with api.appliance.store.transaction() as tx:
        tx.run("UPDATE users SET limits = ? WHERE id = ?", '{"requests_per_day": null}', user_id)
    assert api.ask("GET", "/api/v1/me", key=free).headers["x-ratelimit-limit"] == "2147483647"


def test_nothing_is_held_when_everything_has_ended(api: Running) -> None:
    key = api.make_user("held@example.org")
    user_id = api.ask("GET", "/api/v1/me", key=key).json["id"]
    asked = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    for body in (asked, asked | {"stream": True}, asked | {"n": 99}, asked | {"model": "none"}, b"{", None):
        api.ask("POST", "/api/v1/chat/completions", body, key=key)
    counted = api.appliance.quotas.limits
    # the place is given back after the last byte, in the server's own thread
    for _ in range(1000):
        if counted.running(user_id) == (0, 0):
            break
        api.ask("GET", "/healthz", key=None)
    assert counted.running(user_id) == (0, 0)


def counts(api: Running, key: str) -> dict[str, int]:
    windows = api.ask("GET", "/api/v1/me/limits", key=key).json["windows"]
    return {window["name"]: window["used"] for window in windows}


def test_tokens_are_limited_exactly_and_what_was_not_used_comes_back(api: Running, free: str) -> None:
    asked = {"model": "gpt-4", "messages": [{"role": "user", "content": "Tell me a long story."}], "temperature": 0}
    few = dict.fromkeys(("requests_per_minute", "completions_per_minute", "requests_per_day", "completions_per_day"))
    set_tier(api, {**few, "tokens_per_day": 120})
    first = api.ask("POST", "/api/v1/chat/completions", asked | {"max_tokens": 20}, key=free).json["usage"]
    last = api.ask("POST", "/api/v1/chat/completions", asked | {"n": 2}, key=free)
    # what is left is less than an answer without a length has to have
    assert (last.status, last.headers["ratelimit-policy"]) == (429, '"tokens-day";q=120;w=86400')
    assert counts(api, free)["completions-day"] == 1
    set_tier(api, {**few, "tokens_per_day": 400})
    cut = api.ask("POST", "/api/v1/chat/completions", asked | {"max_tokens": 280}, key=free)
    assert cut.status == 200
    windows = {window["name"]: window for window in api.ask("GET", "/api/v1/me/limits", key=free).json["windows"]}
    for _ in range(2000):
        # the rest comes back after the last byte
        windows = {window["name"]: window for window in api.ask("GET", "/api/v1/me/limits", key=free).json["windows"]}
        if windows["tokens-day"]["used"] == first["total_tokens"] + cut.json["usage"]["total_tokens"]:
            break
    assert windows["tokens-day"]["used"] == first["total_tokens"] + cut.json["usage"]["total_tokens"] <= 400
    over = {"model": "text-embedding-3-small", "input": ["Hello there"] * 100}
    assert api.ask("POST", "/api/v1/embeddings", over, key=free).status == 429


def test_a_stream_within_the_token_limit_is_cut_and_one_over_it_refused(api: Running, free: str) -> None:
    few = dict.fromkeys(("requests_per_minute", "completions_per_minute", "requests_per_day", "completions_per_day"))
    set_tier(api, {**few, "tokens_per_day": 30})
    asked = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    first = api.ask("POST", "/api/v1/chat/completions", asked | {"max_tokens": 500}, key=free)
    assert first.status == 200
    assert '"finish_reason":"length"' in first.events[-2] or '"finish_reason":"stop"' in first.events[-2]
    second = api.ask("POST", "/api/v1/chat/completions", asked | {"max_tokens": 500}, key=free)
    assert second.status == 429
